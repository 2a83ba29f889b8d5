using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Tests.Signatures;

/// <summary>A publisher with a key that openssl made, and a store that trusts it.</summary>
internal sealed class PublisherKit : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly SigningKey _key;

    public PublisherKit()
    {
        Tool.Shell("openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out acme.pem", _scratch.Folder);
        _key = SigningKey.Parse(File.ReadAllText(_scratch["key.pem"]), "key.pem");
        Store = new BundleStore(_scratch["state/signatures"], TimeProvider.System);
        Store.Trust.Add(_scratch["acme.pem"], null);
        Checker = new PartsChecker(Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), CancellationToken.None);
    }

    public BundleStore Store { get; }

    /// <summary>Checks parts in this process.</summary>
    public PartsChecker Checker { get; }

    public string State => _scratch["state"];

    public string this[string name] => _scratch[name];

    public string Rule(string text, string path = "rules/a.yar")
    {
        string file = _scratch["in/" + path];
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
        return _scratch["in"];
    }

    /// <summary>A signed bundle of what lies in the folder <c>in</c>, its counts taken as they are told.</summary>
    public string Bundle(long version, DateTimeOffset? expires = null, Func<BundlePart, BundlePart>? counted = null, string? file = null)
    {
        string staged = _scratch["staged-" + Guid.NewGuid().ToString("N")];
        IReadOnlyList<BundlePart> parts = BundleBuilder.Collect(_scratch["in"], staged);
        parts = counted is null ? Checker.Count(Path.Combine(staged, "parts"), parts) : [.. parts.Select(counted)];
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        var manifest = new BundleManifest("acme", version, now.AddMinutes(-1), expires ?? now.AddDays(30), parts);
        BundleBuilder.Seal(staged, manifest, _key);
        file ??= _scratch[$"acme-{version}.vmbundle"];
        using FileStream output = File.Create(file);
        BundleBuilder.Pack(staged, manifest, output);
        return file;
    }

    public Installed Install(string file) => Store.Install(file, new InstallOptions(), Checker.Check);

    public SignatureUpdate Update(long most = 1 << 30) => new(Store, _scratch["state/signatures"], Checker.Check, most, CancellationToken.None) { Wait = (_, _) => Task.CompletedTask };

    public void Dispose()
    {
        _key.Dispose();
        _scratch.Dispose();
    }
}
