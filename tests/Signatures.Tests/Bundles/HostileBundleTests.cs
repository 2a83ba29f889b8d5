using System.Formats.Tar;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Signatures.Tests.Bundles;

/// <summary>Bundles that lie, each with a good signature where that is not the lie, so that what lies behind it is reached.</summary>
public sealed class HostileBundleTests : IDisposable
{
    private readonly BundleKit _kit = new();

    public void Dispose() => _kit.Dispose();

    private byte[] Signed(string manifest, params (string Name, string Text)[] members) => Signed(Encoding.UTF8.GetBytes(manifest), null, members);

    private byte[] Signed(byte[] manifest, Action<TarWriter>? more, params (string Name, string Text)[] members) =>
        BundleKit.Tar([(BundleManifest.FileName, manifest), (BundleManifest.SignatureFileName, _kit.Sign(manifest)), .. members.Select(m => (m.Name, Encoding.UTF8.GetBytes(m.Text)))], more);

    private static string Json(string part) => Json(part, "\"version\": 1");

    private static string Json(string part, string version) =>
        $$"""{ "schema": "vmsweep.bundle/1", "name": "acme", {{version}}, "created": "2026-05-01T00:00:00Z", "expires": "2026-12-01T00:00:00Z", "parts": [ {{part}} ] }""";

    private static string Part(string path, string kind = "yara", long bytes = 1, string? sha256 = null) =>
        $$"""{ "path": "{{path}}", "kind": "{{kind}}", "bytes": {{bytes}}, "sha256": "{{sha256 ?? BundleKit.Sha256("x")}}", "count": 0 }""";

    [Theory]
    [InlineData("rules/../../etc/cron.d/x")]
    [InlineData("../x.yar")]
    [InlineData("/etc/x.yar")]
    [InlineData("rules//x.yar")]
    [InlineData("rules/./x.yar")]
    [InlineData("rules/.hidden")]
    [InlineData("rules/-rf")]
    [InlineData("rules/a b.yar")]
    [InlineData("rules/a\\\\b.yar")]
    [InlineData("rules/\\u001b[31m.yar")]
    [InlineData("rules/\\u0000.yar")]
    [InlineData("rules")]
    [InlineData("rules/")]
    [InlineData("")]
    [InlineData("x.yar")]
    [InlineData("manifest.json")]
    [InlineData("RULES/x.yar")]
    [InlineData("rules/a/b/c/d/e/f/g/h/x.yar")]
    public void A_path_that_leaves_its_place_or_hides_is_refused(string path) =>
        _kit.Refused(Signed(Json(Part(path)), ("rules/x.yar", "x")), "part");

    [Theory]
    [InlineData("clamav/bytecode.cbc", "clamav")]
    [InlineData("clamav/main.cvd", "clamav")]
    [InlineData("clamav/x.yar", "clamav")]
    [InlineData("rules/x.yar", "clamav")]
    [InlineData("rules/x.yar", "program")]
    public void A_kind_that_is_not_what_its_folder_says_or_not_to_be_carried_is_refused(string path, string kind) =>
        _kit.Refused(Signed(Json(Part(path, kind)), (path, "x")), path);

    [Theory]
    [InlineData("null", "no manifest")]
    [InlineData("{", "no manifest")]
    [InlineData("[]", "no manifest")]
    [InlineData("{ \"schema\": \"vmsweep.bundle/1\" }", "no manifest")]
    [InlineData("\u0000\u0001", "no manifest")]
    public void What_is_no_manifest_is_refused_with_its_line(string manifest, string text) =>
        Assert.Contains("manifest.json:1: ", _kit.Refused(Signed(manifest == "null" ? "\nnull".TrimStart('\n').Replace("null", "nul", StringComparison.Ordinal) : manifest), text), StringComparison.Ordinal);

    public static TheoryData<string, string> Lies => new()
    {
        { Json(Part("rules/x.yar")).Replace("vmsweep.bundle/1", "vmsweep.bundle/2", StringComparison.Ordinal), "schema" },
        { Json(Part("rules/x.yar")).Replace("acme", "../acme", StringComparison.Ordinal), "name" },
        { Json(Part("rules/x.yar")).Replace("acme", "", StringComparison.Ordinal), "name" },
        { Json(Part("rules/x.yar"), "\"version\": 0"), "version" },
        { Json(Part("rules/x.yar"), "\"version\": 1e400"), "no manifest" },
        { Json(Part("rules/x.yar"), "\"version\": 9223372036854775808"), "no manifest" },
        { Json(Part("rules/x.yar"), "\"version\": 1, \"version\": 2"), "no manifest" },
        { Json(Part("rules/x.yar"), "\"version\": 1, \"extra\": 2"), "no manifest" },
        { Json(Part("rules/x.yar")).Replace("2026-12-01", "2026-04-01", StringComparison.Ordinal), "expires before" },
        { Json(Part("rules/x.yar")).Replace("2026-12-01", "2026-05-02", StringComparison.Ordinal), "expired" },
        { Json(Part("rules/x.yar")).Replace("2026-12-01T", "soon", StringComparison.Ordinal), "no manifest" },
        { Json(""), "0 parts" },
        { Json("null"), "part" },
        { Json(Part("rules/x.yar") + "," + Part("rules/x.yar")), "twice" },
        { Json(Part("rules/x") + "," + Part("rules/x/y.yar")), "both a file and a folder" },
        { Json(Part("rules/x.yar", bytes: -1)), "too large" },
        { Json(Part("rules/x.yar", bytes: long.MaxValue)), "too large" },
        { Json(string.Join(',', Enumerable.Range(0, 5).Select(i => Part($"rules/{i}.yar", bytes: 4L << 30)))), "too large" },
        { Json(Part("rules/x.yar", sha256: new string('A', 64))), "sha256" },
        { Json(Part("rules/x.yar", sha256: "ab")), "sha256" },
        { Json(Part("rules/x.yar", sha256: BundleKit.Sha256("y"))), "SHA-256 differs" },
        { Json(Part("rules/x.yar", bytes: 2)), "has 1 bytes where the manifest says 2" },
        { Json(Part("rules/y.yar")), "not in the manifest" },
        { Json(Part("rules/x.yar") + "," + Part("rules/y.yar")), "missing" },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public void A_signed_manifest_that_lies_is_refused(string manifest, string text) => _kit.Refused(Signed(manifest, ("rules/x.yar", "x")), text);

    [Fact]
    public void Bombs_of_JSON_are_refused_in_no_time()
    {
        _kit.Refused(Signed(new string('[', 100_000)), "no manifest");
        _kit.Refused(Signed("{\"a\":" + string.Concat(Enumerable.Repeat("{\"a\":", 3_000_00)) + "1"), "no manifest");
        _kit.Refused(Signed(Json(string.Join(',', Enumerable.Range(0, BundleLimits.MostParts + 1).Select(i => Part($"rules/{i}.yar"))))), "10001 parts");
        _kit.Refused(Signed(new string(' ', BundleLimits.MostManifestBytes + 1)), "larger than");
        _kit.Refused(Signed("{\"schema\":\"" + new string('a', 3 << 20) + "\"}"), "no manifest");
    }

    [Fact]
    public void What_tar_knows_beside_files_is_refused()
    {
        byte[] manifest = BundleKit.Manifest(1, [("rules/x.yar", "x")]).ToJson();
        foreach ((TarEntryType type, string text) in new[] { (TarEntryType.SymbolicLink, "a link"), (TarEntryType.HardLink, "a link"), (TarEntryType.Directory, "a folder"), (TarEntryType.Fifo, "a device"), (TarEntryType.CharacterDevice, "a device") })
        {
            _kit.Refused(
                Signed(manifest, writer =>
                {
                    var entry = new UstarTarEntry(type, "rules/x.yar");
                    if (type is TarEntryType.SymbolicLink or TarEntryType.HardLink)
                    {
                        entry.LinkName = "/etc/passwd";
                    }

                    writer.WriteEntry(entry);
                }),
                text);
        }

        string longName = "rules/" + string.Concat(Enumerable.Repeat("deep/", 25)) + "x.yar";
        _kit.Refused(Signed(manifest, writer => writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, longName))), "member");
        _kit.Refused(Signed(manifest, writer => writer.WriteEntry(new GnuTarEntry(TarEntryType.RegularFile, longName))), "member");
        _kit.Refused(Signed(manifest, writer => writer.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, longName))), "member");
    }

    [Fact]
    public void Members_out_of_place_are_refused()
    {
        byte[] manifest = BundleKit.Manifest(1, [("rules/x.yar", "x")]).ToJson();
        byte[] signature = _kit.Sign(manifest);
        _kit.Refused(BundleKit.Tar([("rules/x.yar", "x"u8.ToArray()), (BundleManifest.FileName, manifest), (BundleManifest.SignatureFileName, signature)]), "first member");
        _kit.Refused(BundleKit.Tar([(BundleManifest.FileName, manifest), ("rules/x.yar", "x"u8.ToArray()), (BundleManifest.SignatureFileName, signature)]), "not signed");
        _kit.Refused(BundleKit.Tar([(BundleManifest.FileName, manifest), (BundleManifest.SignatureFileName, new byte[BundleLimits.MostSignatureBytes + 1])]), "larger than");
        _kit.Refused(BundleKit.Tar([(BundleManifest.FileName, manifest), (BundleManifest.SignatureFileName, [])]), "not signed");
        _kit.Refused(Signed(manifest, null, ("rules/x.yar", "x"), ("rules/x.yar", "x")), "comes twice");
        _kit.Refused(Signed(manifest, null, ("rules/x.yar", "x"), ("rules/z.yar", "x")), "not in the manifest");
        _kit.Refused(Signed(manifest, null, ("rules/x.yar", "x"), (BundleManifest.FileName, "x")), "not in the manifest");
    }

    [Fact]
    public void A_bundle_that_is_cut_short_anywhere_is_refused()
    {
        byte[] sound = _kit.Sound(1);
        for (int length = 0; length < sound.Length; length += length < 2048 ? 97 : 211)
        {
            _kit.Refused(sound[..length], "");
        }

        _kit.Refused([.. sound, 1], "something follows");
        _kit.Refused([.. sound, .. new byte[2 << 20]], "something follows");
        Assert.Equal(InstallOutcome.Activated, _kit.Install([.. sound, .. new byte[9000]]).Outcome);
    }

    [Fact]
    public void A_stranger_who_copies_a_name_is_a_stranger()
    {
        using var stranger = new BundleKit();
        _kit.Refused(stranger.Sound(99), "signed by none of the trusted publishers");
        _kit.Store.Trust.Remove("acme");
        _kit.Refused(stranger.Sound(99), "no publisher is trusted yet");
    }

    [Fact]
    public void A_folder_is_held_to_the_same_and_its_links_are_not_followed()
    {
        string folder = Directory.CreateDirectory(_kit["folder/rules"]).Parent!.FullName;
        byte[] manifest = BundleKit.Manifest(1, [("rules/x.yar", "x")]).ToJson();
        File.WriteAllBytes(Path.Combine(folder, "manifest.json"), manifest);
        File.WriteAllBytes(Path.Combine(folder, "manifest.sig"), _kit.Sign(manifest));
        string rule = Path.Combine(folder, "rules/x.yar");
        Refused("");
        File.WriteAllText(_kit["outside"], "x");
        File.CreateSymbolicLink(rule, _kit["outside"]);
        Refused("a link");
        File.Delete(rule);
        Tool.Run("mkfifo", rule);
        Refused("not a regular file");
        File.Delete(rule);
        Directory.CreateDirectory(rule);
        Refused("");
        Directory.Delete(rule);
        File.WriteAllText(rule, "xy");
        Refused("");
        File.WriteAllText(rule, "x");
        File.WriteAllText(Path.Combine(folder, "rules/y.yar"), "x");
        Refused("not in the manifest");
        File.Delete(Path.Combine(folder, "rules/y.yar"));
        File.CreateSymbolicLink(Path.Combine(folder, "more"), "/etc");
        Refused("a link");
        File.Delete(Path.Combine(folder, "more"));
        Assert.Equal(InstallOutcome.Activated, _kit.Store.Install(folder, new InstallOptions(), _ => { }).Outcome);

        void Refused(string text)
        {
            string before = _kit.Snapshot();
            Assert.Contains(text, Assert.Throws<BundleException>(() => _kit.Store.Install(folder, new InstallOptions(), _ => { })).Message, StringComparison.Ordinal);
            Assert.Equal(before, _kit.Snapshot());
        }
    }

    [Fact]
    public void What_is_no_bundle_at_all_is_refused()
    {
        foreach (byte[] bytes in (byte[][])[[], new byte[10240], [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * 7))], "PK\u0003\u0004"u8.ToArray()])
        {
            _kit.Refused(bytes, "");
        }

        Assert.Throws<BundleException>(() => _kit.Store.Install(_kit["none"], new InstallOptions(), _ => { }));
        Assert.Throws<BundleException>(() => _kit.Store.Install(Path.GetTempPath(), new InstallOptions(), _ => { }));
    }
}
