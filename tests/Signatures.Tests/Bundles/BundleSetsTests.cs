using System.Security.Cryptography;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Signatures.Tests.Bundles;

/// <summary>Hash lists are compiled once, when their bundle is installed.</summary>
public sealed class BundleSetsTests : IDisposable
{
    private static readonly string Bad = new('a', 64);
    private static readonly string Worse = new('b', 40);
    private static readonly string Good = new('c', 64);

    private readonly BundleKit _kit = new();

    private BundleStore Store => _kit.Store;

    public void Dispose() => _kit.Dispose();

    private byte[] Bundle(long version, params (string Path, string Text)[] lists)
    {
        (string Path, string Text)[] parts = [("rules/a.yar", $"rule v{version} {{ condition: false }}\n"), .. lists];
        byte[] manifest = BundleKit.Manifest(version, parts).ToJson();
        return BundleKit.Tar([(BundleManifest.FileName, manifest), (BundleManifest.SignatureFileName, _kit.Sign(manifest)), .. parts.Select(p => (p.Path, Encoding.UTF8.GetBytes(p.Text)))]);
    }

    private string Set(PartKind kind)
    {
        using OpenBundle active = Store.OpenActive()!;
        return active.SetOf(kind)!;
    }

    private static bool Lists(string set, HashSetKind kind, string hash)
    {
        using HashSet opened = HashSet.Open(set, kind);
        byte[] bytes = Convert.FromHexString(hash);
        return bytes.Length == SHA1.HashSizeInBytes ? opened.Contains([], bytes) : opened.Contains(bytes);
    }

    private IReadOnlyList<string> Verify()
    {
        using OpenBundle active = Store.OpenActive()!;
        return Store.Verify(active);
    }

    [Fact]
    public void All_lists_of_a_kind_become_one_set_which_lies_beside_the_parts()
    {
        _kit.Install(Bundle(1, ("hashes/bad.txt", Bad + " Bad.Thing\n"), ("hashes/sub/worse.csv", $"{Worse},Worse.Thing,critical\n"), ("known-good/nsrl.txt", $"\"SHA-256\",\"FileName\"\n\"{Good}\",\"a.dll\"\n")));
        using (HashSet bad = HashSet.Open(Set(PartKind.Hashes), HashSetKind.Bad))
        {
            Assert.Equal(2, bad.Facts.Count);
            Assert.Equal(BundleKit.Now.AddDays(-1), bad.Facts.Created);
            Assert.Equal(("Bad.Thing", "bad.txt"), bad.TryMatch(Convert.FromHexString(Bad)) is { } one ? (one.Rule, one.Namespace) : default);
            Assert.Equal(("Worse.Thing", "worse.csv"), bad.TryMatch([], Convert.FromHexString(Worse)) is { } two ? (two.Rule, two.Namespace) : default);
        }

        Assert.True(Lists(Set(PartKind.KnownGood), HashSetKind.KnownGood, Good));
        using OpenBundle active = Store.OpenActive()!;
        Assert.Null(active.SetOf(PartKind.Yara));
        Assert.Empty(Store.Verify(active));
        Assert.Equal(_kit["store/bundles/" + active.Id + "/sets"], Path.GetDirectoryName(active.SetOf(PartKind.Hashes)));
        Assert.Equal(1, Store.List()[0].Manifest!.Count(PartKind.KnownGood));
    }

    [Fact]
    public void A_set_is_of_the_lists_that_its_bundle_has_and_shared_only_with_bundles_of_the_same_lists()
    {
        _kit.Install(Bundle(1, ("hashes/bad.txt", Bad + "\n"), ("known-good/g.txt", Good + "\n")));
        string bad = Set(PartKind.Hashes);
        string good = Set(PartKind.KnownGood);
        _kit.Install(Bundle(2, ("hashes/bad.txt", Bad[1..] + "d\n"), ("known-good/g.txt", Good + "\n")));
        Assert.NotEqual(Path.GetFileName(bad), Path.GetFileName(Set(PartKind.Hashes)));
        Assert.False(Lists(Set(PartKind.Hashes), HashSetKind.Bad, Bad));
        Assert.True(Lists(Set(PartKind.Hashes), HashSetKind.Bad, Bad[1..] + "d"));
        Assert.Equal(Path.GetFileName(good), Path.GetFileName(Set(PartKind.KnownGood)));
        Assert.Equal("2", Tool.Shell($"stat -c %h {Set(PartKind.KnownGood)}", _kit["."]).Trim());

        // What the shared one says of itself is tried again; and with the first bundle its sets go.
        File.WriteAllText(good, "VMSWHASH");
        _kit.Install(Bundle(3, ("hashes/bad.txt", Bad + "\n"), ("known-good/g.txt", Good + "\n")));
        Assert.True(Lists(Set(PartKind.KnownGood), HashSetKind.KnownGood, Good));
        Assert.False(File.Exists(bad));
        Assert.Empty(Directory.GetFileSystemEntries(_kit["store/incoming"]));
    }

    /// <summary>A list that was cut out of the text but not out of the set would be a hole in "known good".</summary>
    [Fact]
    public void A_set_that_is_carried_in_is_never_used()
    {
        _kit.Install(Bundle(1, ("known-good/g.txt", Good + "\n")));
        string name = Path.GetFileName(Set(PartKind.KnownGood));
        using (var builder = new HashSetBuilder(HashSetKind.KnownGood))
        {
            builder.Add(new MemoryStream(Encoding.ASCII.GetBytes(Bad)), "g.txt", BundleKit.Now, TestContext.Current.CancellationToken);
            builder.Build(_kit["planted"]);
        }

        // As a folder, with the very name that the set will have.
        string folder = _kit["carried"];
        Tool.Shell($"mkdir -p {folder} && tar -xf {_kit.Write(Bundle(2, ("known-good/g.txt", Good + "\n")))} -C {folder} && mkdir {folder}/sets && cp {_kit["planted"]} {folder}/sets/{name}", _kit["."]);
        Assert.Contains("not in the manifest", Assert.Throws<BundleException>(() => Store.Install(folder, new InstallOptions(), _ => { })).Message, StringComparison.Ordinal);
        Assert.Equal(1, Store.List()[0].Manifest!.Version);
        Assert.False(Lists(Set(PartKind.KnownGood), HashSetKind.KnownGood, Bad));
        _kit.Refused(Bundle(3, ("known-good/g.txt", "VMSWHASH" + new string('x', 600))), "known-good/g.txt:0: it is a compiled set");
        _kit.Refused(Bundle(3, ("sets/" + name, "x")), "not below rules/");
    }

    [Fact]
    public void A_wrong_line_that_the_check_of_the_parts_let_pass_refuses_the_bundle()
    {
        _kit.Install(Bundle(1, ("hashes/bad.txt", Bad + "\n")));
        _kit.Refused(Bundle(2, ("hashes/bad.txt", $"{Bad}\n# comment\nabc\n")), "hashes/bad.txt:3: 3 hexadecimal digits");
        _kit.Refused(Bundle(2, ("known-good/g.txt", new string('a', 32) + "\n")), "known-good/g.txt:1: an MD5 cannot vouch");
        Assert.Empty(Directory.GetFileSystemEntries(_kit["store/incoming"]));
    }

    [Fact]
    public void A_damaged_set_is_told_and_made_again_by_adding_the_bundle_once_more()
    {
        byte[] bundle = Bundle(1, ("hashes/bad.txt", Bad + "\n"));
        _kit.Install(bundle);
        string set = Set(PartKind.Hashes);
        byte[] bytes = File.ReadAllBytes(set);
        bytes[^1] ^= 1;
        File.WriteAllBytes(set, bytes);
        Assert.Contains("damaged", Assert.Single(Verify()), StringComparison.Ordinal);
        Assert.Equal(InstallOutcome.AlreadyActive, _kit.Install(bundle).Outcome);
        Assert.Empty(Verify());

        // A header of another version, say: scans take the lists.
        File.WriteAllText(set, "VMSWHASH");
        using (OpenBundle active = Store.OpenActive()!)
        {
            Assert.Null(active.SetOf(PartKind.Hashes));
        }

        File.Move(set, Path.Combine(Path.GetDirectoryName(set)!, "hashes-other"));
        Assert.Contains("hashes-other: made of no list", Assert.Single(Verify()), StringComparison.Ordinal);
    }

    [Fact]
    public void Going_back_to_a_bundle_that_has_no_sets_yet_makes_them()
    {
        string first = _kit.Install(Bundle(1, ("hashes/bad.txt", Bad + "\n"))).Id;
        _kit.Install(Bundle(2, ("hashes/bad.txt", Worse + "\n")));
        Directory.Delete(_kit[$"store/bundles/{first}/sets"], recursive: true);
        Assert.Equal(first, Store.RollBack().Id);
        Assert.True(Lists(Set(PartKind.Hashes), HashSetKind.Bad, Bad));

        // Nothing keeps anybody from going back, not even a store that sets cannot be written to.
        string second = Store.List()[1].Id;
        Directory.Delete(_kit[$"store/bundles/{second}/sets"], recursive: true);
        File.WriteAllText(_kit[$"store/bundles/{second}/sets"], "in the way");
        Assert.Equal(second, Store.RollBack().Id);
        Assert.Null(Set(PartKind.Hashes));
    }

    [Fact]
    public void An_interrupted_change_leaves_the_bundle_before_it()
    {
        string first = _kit.Install(Bundle(1, ("hashes/bad.txt", Bad + "\n"))).Id;
        using var interrupted = new CancellationTokenSource();
        string file = _kit.Write(Bundle(2, ("hashes/bad.txt", Worse + "\n")));
        Assert.Throws<OperationCanceledException>(() => Store.Install(file, new InstallOptions { Cancellation = interrupted.Token }, _ => interrupted.Cancel()));
        Assert.Equal(first, Store.ActiveId);
        Assert.Empty(Directory.GetFileSystemEntries(_kit["store/incoming"]));
    }

    [Fact]
    public void A_list_without_a_hash_is_an_empty_set()
    {
        _kit.Install(Bundle(1, ("hashes/bad.txt", "# none today\n")));
        Assert.False(Lists(Set(PartKind.Hashes), HashSetKind.Bad, Bad));
    }
}
