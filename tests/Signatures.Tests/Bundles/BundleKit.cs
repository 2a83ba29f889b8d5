using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Signatures.Tests.Bundles;

/// <summary>A store with one trusted publisher, and bundles put together with the platform's own tar writer and keys.</summary>
internal sealed class BundleKit : IDisposable
{
    public static readonly DateTimeOffset Now = new(2026, 6, 1, 12, 0, 0, TimeSpan.Zero);

    private readonly Scratch _scratch;
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    /// <param name="parent">Where its folder is made; null: where temporary files are.</param>
    public BundleKit(string? parent = null)
    {
        _scratch = new Scratch(parent);
        Store = new BundleStore(_scratch["store"], new FixedTime(Now));
        File.WriteAllText(_scratch["publisher.pem"], _key.ExportSubjectPublicKeyInfoPem());
        Store.Trust.Add(_scratch["publisher.pem"], "acme");
    }

    public BundleStore Store { get; }

    public string this[string name] => _scratch[name];

    public byte[] Sign(byte[] manifest) => _key.SignData(manifest, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence);

    public static IReadOnlyList<(string Path, string Text)> SoundParts(string marker = "one") =>
    [
        ("rules/a.yar", $"rule {marker} {{ condition: false }}\n"),
        ("rules/sub/b.yar", new string('/', 700) + $"\nrule sub_{marker} {{ condition: false }}\n"),
        ("hashes/bad.txt", new string('a', 64) + " Bad.Thing\n"),
        ("allow/list.json", "{}"),
    ];

    public static BundleManifest Manifest(long version, IEnumerable<(string Path, string Text)> parts, string name = "acme", int days = 30) => new(
        name, version, Now.AddDays(-1), Now.AddDays(days),
        [.. parts.Select(p => new BundlePart(p.Path, PartKinds.Of(p.Path) ?? PartKind.Yara, Encoding.UTF8.GetByteCount(p.Text), Sha256(p.Text), 1))]);

    /// <summary>A sound, signed bundle as one file.</summary>
    public byte[] Sound(long version, string marker = "one", string name = "acme", int days = 30)
    {
        byte[] manifest = Manifest(version, SoundParts(marker), name, days).ToJson();
        return Tar([(BundleManifest.FileName, manifest), (BundleManifest.SignatureFileName, Sign(manifest)), .. SoundParts(marker).Select(p => (p.Path, Encoding.UTF8.GetBytes(p.Text)))]);
    }

    public static byte[] Tar(IEnumerable<(string Name, byte[] Content)> members, Action<TarWriter>? more = null)
    {
        using var stream = new MemoryStream();
        using (var writer = new TarWriter(stream, TarEntryFormat.Ustar, leaveOpen: true))
        {
            foreach ((string name, byte[] content) in members)
            {
                writer.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content) });
            }

            more?.Invoke(writer);
        }

        return stream.ToArray();
    }

    public string Write(byte[] bundle, string name = "b.vmbundle")
    {
        File.WriteAllBytes(_scratch[name], bundle);
        return _scratch[name];
    }

    public Installed Install(byte[] bundle, InstallOptions? options = null) => Store.Install(Write(bundle), options ?? new InstallOptions(), _ => { });

    /// <summary>It is refused with a message that holds a text, and the store stays as it was.</summary>
    public string Refused(byte[] bundle, string text, InstallOptions? options = null)
    {
        string before = Snapshot();
        BundleException e = Assert.Throws<BundleException>(() => Install(bundle, options));
        Assert.Contains(text, e.Message, StringComparison.Ordinal);
        Assert.Equal(before, Snapshot());
        return e.Message;
    }

    /// <summary>Every file of the store with its digest, but for the empty lock files.</summary>
    public string Snapshot()
    {
        string root = _scratch["store"];
        return string.Join('\n', Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories)
            .Where(f => new FileInfo(f).Length > 0)
            .Select(f => Path.GetRelativePath(root, f) + " " + Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(f))))
            .Order(StringComparer.Ordinal));
    }

    public static string Sha256(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    public void Dispose()
    {
        _key.Dispose();
        _scratch.Dispose();
    }

    internal sealed class FixedTime(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }
}
