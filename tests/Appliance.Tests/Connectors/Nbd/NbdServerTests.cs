using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors.Nbd;

/// <summary>The server against other people's clients, and against ours.</summary>
public sealed class NbdServerTests : IDisposable
{
    private const int ImageBytes = 20 << 20;

    private readonly Scratch _scratch = new();
    private readonly byte[] _content = new byte[ImageBytes];

    public NbdServerTests()
    {
        var random = new Random(11);
        foreach ((int at, int count) in ((int, int)[])[(0, 70_000), (3 << 20, (5 << 20) + 77), (ImageBytes - 4096, 4096)])
        {
            random.NextBytes(_content.AsSpan(at, count));
        }

        Tool.Shell("truncate -s 20M disk.raw", _scratch.Folder);
        using FileStream file = File.OpenWrite(_scratch["disk.raw"]);
        for (int at = 0; at < ImageBytes; at += 4096)
        {
            if (_content.AsSpan(at, 4096).ContainsAnyExcept((byte)0))
            {
                file.Position = at;
                file.Write(_content.AsSpan(at, 4096));
            }
        }
    }

    private string Uri => $"nbd+unix:///disk?socket={_scratch["s"]}";

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Others_read_all_of_it_and_see_its_holes()
    {
        using var source = new FileSource(_scratch["disk.raw"]);
        using NbdServer server = NbdServer.OnUnix(_scratch["s"], new Dictionary<string, IBlockSource> { ["disk"] = source, ["empty"] = MemorySource.Empty });
        using JsonDocument info = JsonDocument.Parse(Tool.Run("nbdinfo", "--json", Uri));
        JsonElement export = info.RootElement.GetProperty("exports")[0];
        Assert.Equal("newstyle-fixed", info.RootElement.GetProperty("protocol").GetString());
        Assert.Equal((long)ImageBytes, export.GetProperty("export-size").GetInt64());
        Assert.True(export.GetProperty("is_read_only").GetBoolean());
        Assert.True(export.GetProperty("can_multi_conn").GetBoolean());
        Assert.Contains("base:allocation", export.GetProperty("contexts").ToString(), StringComparison.Ordinal);
        Assert.Contains("empty", Tool.Run("nbdinfo", "--list", $"nbd+unix://?socket={_scratch["s"]}"), StringComparison.Ordinal);

        Tool.Run("nbdcopy", Uri, _scratch["copy"]);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(File.ReadAllBytes(_scratch["copy"])));
        Tool.Run("nbdcopy", "--request-size=33554432", "--connections=4", Uri, _scratch["copy2"]);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(File.ReadAllBytes(_scratch["copy2"])));
        Tool.Run("qemu-img", "convert", "-f", "raw", "-O", "raw", Uri, _scratch["converted"]);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(File.ReadAllBytes(_scratch["converted"])));

        // Both kinds of answer: a client that does not want structured replies gets simple ones.
        Python("h.set_request_structured_replies(False)", $"h.connect_uri('{Uri}')", $"open('{_scratch["simple"]}','wb').write(h.pread(1<<20, 3<<20)+h.pread(100, 0))");
        Assert.Equal([.. _content[(3 << 20)..(4 << 20)], .. _content[..100]], File.ReadAllBytes(_scratch["simple"]));

        string map = Tool.Run("nbdinfo", "--map", Uri);
        Assert.Contains("hole,zero", map, StringComparison.Ordinal);
        Assert.Contains(" data", map, StringComparison.Ordinal);
        string theirs = Tool.Run("qemu-img", "map", "--output=json", "-f", "raw", Uri);
        Assert.Equal(Data(Tool.Run("qemu-img", "map", "--output=json", "-f", "raw", _scratch["disk.raw"])), Data(theirs));

        static string Data(string json) =>
            string.Join(", ", JsonDocument.Parse(json).RootElement.EnumerateArray().Where(r => !r.GetProperty("zero").GetBoolean()).Select(r => $"{r.GetProperty("start")}+{r.GetProperty("length")}"));
    }

    [Theory]
    [InlineData("h.pread(512, h.get_size() - 100)")]
    [InlineData("h.pread(1 << 26, 0)")]
    [InlineData("h.zero(512, 0)")]
    [InlineData("h.pwrite(b'x' * 512, 0)")]
    [InlineData("h.trim(512, 0)")]
    public void What_may_not_be_is_refused_and_the_server_goes_on(string call)
    {
        using NbdServer server = NbdServer.OnUnix(_scratch["s"], new Dictionary<string, IBlockSource> { ["disk"] = new MemorySource(_content) });
        string became = Python($"h.connect_uri('{Uri}')", "h.set_strict_mode(0)", "try:", $"  {call}", "  print('taken')", "except nbd.Error as e:", "  print('refused')");
        Assert.Equal("refused\n", became);
        Tool.Run("nbdcopy", Uri, _scratch["copy"]);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(File.ReadAllBytes(_scratch["copy"])));
        Assert.NotEqual(0, Tool.Try("nbdinfo", null, $"nbd+unix:///nothing?socket={_scratch["s"]}").Status);
    }

    [Fact]
    public void A_source_that_fails_is_an_error_of_the_read_alone()
    {
        using NbdServer server = NbdServer.OnUnix(_scratch["s"], new Dictionary<string, IBlockSource> { ["disk"] = new FailingSource(_content) });
        using NbdSource client = NbdSource.Open(NbdTransport.Unix(_scratch["s"]), "disk", new ScanBudget(64 << 20));
        byte[] some = new byte[1000];
        IOException failure = Assert.Throws<IOException>(() => client.Read(6 << 20, some));
        Assert.Contains("the storage is gone", failure.Message, StringComparison.Ordinal);
        client.Read(3 << 20, some);
        Assert.Equal(_content[(3 << 20)..((3 << 20) + 1000)], some);
    }

    [Fact]
    public void Our_client_reads_our_server_whatever_it_is_sent()
    {
        using var source = new FileSource(_scratch["disk.raw"]);
        using NbdServer server = NbdServer.OnUnix(_scratch["s"], new Dictionary<string, IBlockSource> { ["disk"] = source });
        using (var garbage = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified))
        {
            garbage.Connect(new System.Net.Sockets.UnixDomainSocketEndPoint(_scratch["s"]));
            garbage.Send(RandomNumberGenerator.GetBytes(5000));
        }

        using NbdSource client = NbdSource.Open(NbdTransport.Unix(_scratch["s"]), "disk", new ScanBudget(64 << 20));
        byte[] all = new byte[ImageBytes];
        client.Read(0, all);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(all));
        Assert.Equal(ExtentKind.Hole, client.Locate(12 << 20, 100).Kind);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_scratch["s"]));
    }

    [Fact]
    public void Over_TLS_others_and_our_client_read_it_and_nobody_without()
    {
        using RSA key = RSA.Create(2048);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using X509Certificate2 made = request.CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
        using X509Certificate2 certificate = X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), null);
        Directory.CreateDirectory(_scratch["pki"]);
        File.WriteAllText(Path.Combine(_scratch["pki"], "ca-cert.pem"), made.ExportCertificatePem());

        using NbdServer server = NbdServer.OnTcp(new IPEndPoint(IPAddress.Loopback, 0), new Dictionary<string, IBlockSource> { ["disk"] = new MemorySource(_content) }, new SslServerAuthenticationOptions { ServerCertificate = certificate });
        int port = ((IPEndPoint)server.EndPoint).Port;
        Tool.Run("nbdcopy", $"nbds://localhost:{port}/disk?tls-certificates={_scratch["pki"]}", _scratch["copy"]);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(File.ReadAllBytes(_scratch["copy"])));
        Assert.NotEqual(0, Tool.Try("nbdinfo", null, $"nbd://localhost:{port}/disk").Status);

        string pin = Convert.ToHexString(SHA256.HashData(certificate.RawData));
        using NbdSource client = NbdSource.Open(NbdTls.Transport("localhost", port, pin, null, null), "disk", new ScanBudget(64 << 20));
        byte[] all = new byte[ImageBytes];
        client.Read(0, all);
        Assert.Equal(SHA256.HashData(_content), SHA256.HashData(all));
        Assert.Throws<IOException>(() => NbdSource.Open(NbdTls.Transport("localhost", port, new string('0', 64), null, null), "disk", new ScanBudget(1 << 20)));
        Assert.Throws<IOException>(() => NbdSource.Open(NbdTls.Transport("localhost", port, null, null, null), "disk", new ScanBudget(1 << 20)));
        using NbdSource byAuthority = NbdSource.Open(NbdTls.Transport("localhost", port, null, [made], null), "disk", new ScanBudget(64 << 20));
        Assert.Equal(ImageBytes, byAuthority.Length);
    }

    /// <summary>libnbd's own language binding; Debian's Python has it, whichever else is first on the path.</summary>
    private static string Python(params string[] lines)
    {
        Tool.Find("nbdsh");
        return Tool.Run("/usr/bin/python3", "-c", string.Join('\n', (string[])["import nbd", "h = nbd.NBD()", .. lines]));
    }

    private sealed class FailingSource(byte[] content) : IBlockSource
    {
        private readonly MemorySource _inner = new(content);

        public long Length => _inner.Length;

        public void Read(long offset, Span<byte> destination)
        {
            if (offset < 7 << 20 && offset + destination.Length > 6 << 20)
            {
                throw new IOException("the storage is gone");
            }

            _inner.Read(offset, destination);
        }

        public StoredExtent Locate(long offset, long count) => new(ExtentKind.Data, count, 0, offset);

        public void Dispose() => _inner.Dispose();
    }
}
