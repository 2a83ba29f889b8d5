using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Signatures.Tests.Bundles;

/// <summary>Keys, signatures and archives against openssl and GNU tar: a publisher needs nothing of ours.</summary>
public sealed class OpensslTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    public static TheoryData<string, string> Algorithms => new()
    {
        { "openssl genpkey -algorithm ed25519 -out key.pem", "openssl pkeyutl -sign -rawin -inkey key.pem -in manifest.json -out manifest.sig" },
        { "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem", "openssl dgst -sha256 -sign key.pem -out manifest.sig manifest.json" },
        { "openssl ecparam -name prime256v1 -genkey -out key.pem", "openssl dgst -sha256 -sign key.pem -out manifest.sig manifest.json" },
    };

    private BundleStore Store(string generate)
    {
        Tool.Shell($"{generate}\nopenssl pkey -in key.pem -pubout -out key.pub", _scratch.Folder);
        var store = new BundleStore(_scratch["store"], TimeProvider.System);
        (Publisher publisher, bool isNew) = store.Trust.Add(_scratch["key.pub"], null);
        Assert.True(isNew);
        Assert.Equal(publisher.Key.Id, Tool.Shell("openssl pkey -pubin -in key.pub -outform DER | sha256sum | cut -d' ' -f1", _scratch.Folder).Trim());
        return store;
    }

    [Theory]
    [MemberData(nameof(Algorithms))]
    public void A_bundle_made_with_openssl_and_tar_alone_is_taken(string generate, string sign)
    {
        BundleStore store = Store(generate);
        Tool.Shell($$"""
            mkdir -p rules
            echo 'rule made_by_hand { condition: false }' > rules/hand.yar
            cat > manifest.json <<END
            { "schema": "vmsweep.bundle/1", "name": "hand", "version": 1,
              "created": "$(date -u +%FT%TZ)", "expires": "$(date -u -d '+30 days' +%FT%TZ)",
              "parts": [ { "path": "rules/hand.yar", "kind": "yara", "bytes": $(stat -c %s rules/hand.yar), "sha256": "$(sha256sum rules/hand.yar | cut -d' ' -f1)", "count": 1 } ] }
            END
            {{sign}}
            tar -cf gnu.vmbundle manifest.json manifest.sig rules/hand.yar
            tar --format=ustar -cf ustar.vmbundle manifest.json manifest.sig rules/hand.yar
            tar --format=ustar -cf folders.vmbundle manifest.json manifest.sig rules
            mkdir folder && cp -r manifest.json manifest.sig rules folder/
            """, _scratch.Folder);
        Installed installed = store.Install(_scratch["gnu.vmbundle"], new InstallOptions(), _ => { });
        Assert.Equal(InstallOutcome.Activated, installed.Outcome);
        Assert.Equal(Tool.Shell("sha256sum manifest.json | cut -d' ' -f1", _scratch.Folder).Trim(), installed.Id);
        Assert.Equal("key", installed.Signer!.Name);
        Assert.Equal(InstallOutcome.AlreadyActive, store.Install(_scratch["ustar.vmbundle"], new InstallOptions(), _ => { }).Outcome);
        Assert.Equal(InstallOutcome.AlreadyActive, store.Install(_scratch["folder"], new InstallOptions(), _ => { }).Outcome);
        Assert.Contains("a folder", Assert.Throws<BundleException>(() => new BundleStore(_scratch["other"], TimeProvider.System).OpenApart(_scratch["folders.vmbundle"], _scratch["apart"], mayBeUnsigned: true)).Message, StringComparison.Ordinal);
        using OpenBundle active = store.OpenActive()!;
        Assert.Equal("rule made_by_hand { condition: false }\n", File.ReadAllText(Path.Combine(active.FolderOf(PartKind.Yara)!, "hand.yar")));
        Assert.Empty(store.Verify(active));

        // One changed byte of what was signed.
        Tool.Shell("sed -i 's/\"version\": 1/\"version\": 2/' manifest.json && tar -cf changed.vmbundle manifest.json manifest.sig rules/hand.yar", _scratch.Folder);
        Assert.Contains("none of the trusted publishers", Assert.Throws<BundleException>(() => store.Install(_scratch["changed.vmbundle"], new InstallOptions(), _ => { })).Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Algorithms))]
    public void Openssl_verifies_what_is_built_and_tar_unpacks_it(string generate, string _)
    {
        BundleStore store = Store(generate);
        Directory.CreateDirectory(_scratch["in/rules"]);
        File.WriteAllText(_scratch["in/rules/x.yar"], "rule x { condition: false }");
        File.WriteAllText(_scratch["in/rules/large.yar"], new string('/', 100_000));
        IReadOnlyList<BundlePart> parts = BundleBuilder.Collect(_scratch["in"], _scratch["staged"]);
        var manifest = new BundleManifest("acme", 3, DateTimeOffset.UnixEpoch.AddYears(50), DateTimeOffset.UnixEpoch.AddYears(200), parts);
        using (SigningKey key = SigningKey.Parse(File.ReadAllText(_scratch["key.pem"]), "key"))
        {
            BundleBuilder.Seal(_scratch["staged"], manifest, key);
        }

        using (FileStream output = File.Create(_scratch["out.vmbundle"]))
        {
            BundleBuilder.Pack(_scratch["staged"], manifest, output);
        }

        Tool.Shell("mkdir un && tar -xf out.vmbundle -C un && cmp un/rules/x.yar in/rules/x.yar && cmp un/rules/large.yar in/rules/large.yar", _scratch.Folder);
        Assert.Equal(["manifest.json", "manifest.sig", "rules/large.yar", "rules/x.yar"], Tool.Shell("tar -tf out.vmbundle", _scratch.Folder).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        string verify = generate.Contains("ed25519", StringComparison.Ordinal)
            ? "openssl pkeyutl -verify -rawin -pubin -inkey key.pub -in un/manifest.json -sigfile un/manifest.sig"
            : "openssl dgst -sha256 -verify key.pub -signature un/manifest.sig un/manifest.json";
        Assert.Contains("Verified", Tool.Shell(verify, _scratch.Folder), StringComparison.OrdinalIgnoreCase);
        Assert.Equal(3, store.Install(_scratch["out.vmbundle"], new InstallOptions(), _ => { }).Manifest.Version);
        File.AppendAllText(_scratch["un/manifest.json"], " ");
        Assert.Throws<InvalidOperationException>(() => Tool.Shell(verify, _scratch.Folder));
    }

    [Theory]
    [InlineData("openssl genpkey -algorithm ed25519 -out k", "a private key")]
    [InlineData("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 | openssl pkey -pubout -out k", "neither an Ed25519 nor an ECDSA P-256 key")]
    [InlineData("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 | openssl pkey -pubout -out k", "neither an Ed25519 nor an ECDSA P-256 key")]
    [InlineData("openssl genpkey -algorithm ed448 | openssl pkey -pubout -out k", "neither an Ed25519 nor an ECDSA P-256 key")]
    [InlineData("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout /dev/null -out k", "a CERTIFICATE")]
    [InlineData("echo hello > k", "no key in PEM")]
    [InlineData("head -c 100000 /dev/zero > k", "too large")]
    [InlineData("printf -- '-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\\n-----END PUBLIC KEY-----\\n' > k", "is none")]
    [InlineData("printf -- '-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2Vw\\n-----END PUBLIC KEY-----\\n' > k", "neither")]
    public void What_is_no_key_to_trust_is_refused_with_its_reason(string make, string reason)
    {
        Tool.Shell(make, _scratch.Folder);
        var trust = new TrustedKeys(_scratch["trust"]);
        Assert.Contains(reason, Assert.Throws<BundleException>(() => trust.Add(_scratch["k"], "x")).Message, StringComparison.Ordinal);
        Assert.Empty(trust.Read());
    }

    [Theory]
    [InlineData("openssl genpkey -algorithm ed25519 -aes256 -pass pass:x -out k", "encrypted")]
    [InlineData("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out k", "neither")]
    [InlineData("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out k", "neither")]
    [InlineData("openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out k", "not a PRIVATE KEY")]
    public void What_is_no_key_to_sign_with_is_refused_with_its_reason(string make, string reason)
    {
        Tool.Shell(make, _scratch.Folder);
        Assert.Contains(reason, Assert.Throws<BundleException>(() => SigningKey.Parse(File.ReadAllText(_scratch["k"]), "k")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_is_taken_back_by_its_name_or_id()
    {
        BundleStore store = Store("openssl genpkey -algorithm ed25519 -out key.pem");
        string id = store.Trust.Read().Single().Key.Id;
        Assert.False(store.Trust.Add(_scratch["key.pub"], "again").IsNew);
        Assert.Equal("again", store.Trust.Read().Single().Name);
        Assert.Throws<BundleException>(() => store.Trust.Remove(id[..7]));
        Assert.Equal(id, store.Trust.Remove(id[..8]).Key.Id);
        Assert.Empty(store.Trust.Read());
        Assert.Throws<BundleException>(() => store.Trust.Add(_scratch["key.pub"], "-----BEGIN PUBLIC KEY-----"));
        Assert.Empty(Encoding.UTF8.GetBytes(string.Concat(Directory.GetFiles(_scratch["store/trust"]))));
    }
}
