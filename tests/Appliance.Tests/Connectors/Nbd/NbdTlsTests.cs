using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Connectors.Nbd;

/// <summary>The client with certificates on both sides, against other people's servers.</summary>
public sealed class NbdTlsTests : IDisposable
{
    private readonly Scratch _scratch = new();

    /// <summary>An authority, a server of <c>localhost</c> and a client that it knows, and another client that nobody does.</summary>
    public NbdTlsTests()
    {
        Tool.Find("openssl");
        Tool.Shell(
        """
        head -c 3000000 /dev/urandom > disk.raw
        mkdir pki; cd pki
        authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1-key.pem -out $1-cert.pem -days 30 -subj "/CN=$1" -addext basicConstraints=critical,CA:true 2>/dev/null; }
        signed() {
          openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $2-key.pem -out $2.csr -subj "/CN=$2" 2>/dev/null
          printf "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n" > ext
          openssl x509 -req -in $2.csr -CA $1-cert.pem -CAkey $1-key.pem -CAcreateserial -out $2-cert.pem -days 30 -extfile ext 2>/dev/null
        }
        authority ca; authority nobody
        signed ca server; signed ca client; signed nobody stranger
        """,
            _scratch.Folder);
    }

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("qemu-nbd")]
    [InlineData("nbdkit")]
    public void A_client_with_its_certificate_reads_and_others_do_not(string server)
    {
        int port = FreePort();
        string pki = _scratch["pki"];
        Directory.CreateDirectory(_scratch["creds"]);
        File.Copy(Path.Combine(pki, "ca-cert.pem"), _scratch["creds/ca-cert.pem"]);
        File.Copy(Path.Combine(pki, "server-cert.pem"), _scratch["creds/server-cert.pem"]);
        File.Copy(Path.Combine(pki, "server-key.pem"), _scratch["creds/server-key.pem"]);
        string[] arguments = server == "qemu-nbd"
            ? ["--object", $"tls-creds-x509,id=t,endpoint=server,dir={_scratch["creds"]},verify-peer=yes", "--tls-creds", "t", "-t", "-r", "-f", "raw", "-e", "8", "-b", "127.0.0.1", "-p", $"{port}", "-x", "disk", _scratch["disk.raw"]]
            : ["-f", "-r", "-i", "127.0.0.1", "-p", $"{port}", "--tls=require", $"--tls-certificates={_scratch["creds"]}", "--tls-verify-peer", "--exit-with-parent", "file", _scratch["disk.raw"]];
        using Daemon daemon = Daemon.Start(server, () => Answers(port), arguments);
        X509Certificate2Collection authorities = [X509CertificateLoader.LoadCertificateFromFile(Path.Combine(pki, "ca-cert.pem"))];
        using X509Certificate2 client = Pair("client"), stranger = Pair("stranger");
        byte[] expected = File.ReadAllBytes(_scratch["disk.raw"]);
        string pin = Convert.ToHexString(SHA256.HashData(X509CertificateLoader.LoadCertificateFromFile(Path.Combine(pki, "server-cert.pem")).RawData));
        foreach (NbdTransport transport in (NbdTransport[])[NbdTls.Transport("localhost", port, null, authorities, client), NbdTls.Transport("localhost", port, pin, null, client)])
        {
            using NbdSource source = NbdSource.Open(transport, "disk", new ScanBudget(64 << 20));
            byte[] whole = new byte[expected.Length];
            source.Read(0, whole);
            Assert.True(whole.AsSpan().SequenceEqual(expected));
        }

        // A stranger, nobody at all, a server of another authority or pin, and no TLS: none gets a byte.
        Refused(NbdTls.Transport("localhost", port, null, authorities, stranger));
        Refused(NbdTls.Transport("localhost", port, null, authorities, null));
        Refused(NbdTls.Transport("localhost", port, null, [X509CertificateLoader.LoadCertificateFromFile(Path.Combine(pki, "nobody-cert.pem"))], client));
        Refused(NbdTls.Transport("localhost", port, new string('0', 64), null, client));
        Refused(NbdTls.Transport("127.0.0.1", port, null, authorities, client));
        Assert.False(daemon.HasExited, daemon.Said);

        void Refused(NbdTransport transport) => Assert.Throws<IOException>(() =>
        {
            // With TLS 1.3 a server refuses a client's certificate only after the client took the handshake for done.
            using NbdSource source = NbdSource.Open(transport, "disk", new ScanBudget(8 << 20));
            source.Read(0, new byte[512]);
        });

        X509Certificate2 Pair(string name) => X509Certificate2.CreateFromPemFile(Path.Combine(pki, name + "-cert.pem"), Path.Combine(pki, name + "-key.pem"));
    }

    private static bool Answers(int port)
    {
        try
        {
            using var client = new TcpClient("127.0.0.1", port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }
}
