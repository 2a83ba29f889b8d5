using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Vmsweep.DiskReaders.Blocks.Nbd;

namespace Vmsweep.Appliance.Connectors.Nbd;

/// <summary>NBD over TCP with TLS, for the supervisor: a worker has no network.</summary>
internal static class NbdTls
{
    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(30);

    /// <param name="pin">SHA-256 of the one certificate that is taken, in hexadecimal; null: one that is signed.</param>
    /// <param name="authorities">Who may have signed it; null: whom this machine trusts.</param>
    /// <param name="client">This side's certificate with its key, where the server asks for one.</param>
    public static NbdTransport Transport(string host, int port, string? pin, X509Certificate2Collection? authorities, X509Certificate2? client) =>
        new(FormattableString.Invariant($"nbds://{host}:{port}"), () => Connect(host, port), stream => Secure(stream, host, pin, authorities, client));

    private static NetworkStream Connect(string host, int port)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            using var late = new CancellationTokenSource(MostWait);
            socket.ConnectAsync(host, port, late.Token).AsTask().GetAwaiter().GetResult();
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            socket.Dispose();
            throw new IOException($"{host}:{port}: cannot connect: {e.Message}", e);
        }
    }

    private static SslStream Secure(Stream stream, string host, string? pin, X509Certificate2Collection? authorities, X509Certificate2? client)
    {
        var secured = new SslStream(stream, leaveInnerStreamOpen: false);
        var options = new SslClientAuthenticationOptions
        {
            TargetHost = host,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            ClientCertificates = client is null ? null : [client],
        };
        if (pin is not null)
        {
            options.RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                certificate is not null && Convert.ToHexString(SHA256.HashData(certificate.GetRawCertData())).Equals(pin, StringComparison.OrdinalIgnoreCase);
        }
        else if (authorities is not null)
        {
            options.CertificateChainPolicy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            options.CertificateChainPolicy.CustomTrustStore.AddRange(authorities);
        }

        secured.AuthenticateAsClient(options);
        return secured;
    }
}
