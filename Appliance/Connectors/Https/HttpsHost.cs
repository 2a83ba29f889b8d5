using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.Https;

/// <summary>HTTPS to one host, certificate checked, every wait bounded. Calls block: what serves a worker's reads must not need other threads to go on.</summary>
internal sealed class HttpsHost : IDisposable
{
    private const int MostConnections = 8;
    private const int MostHeaderKilobytes = 64;

    /// <summary>A host ends connections that were idle for about ten minutes.</summary>
    private static readonly TimeSpan MostIdle = TimeSpan.FromMinutes(2);

    private readonly ConnectorSettings _settings;
    private readonly HttpClient _client;
    private readonly string? _thumbprint;
    private string? _refusedCertificate;

    /// <param name="address">With scheme and port.</param>
    /// <param name="thumbprint">SHA-1 of the certificate, as a server that is trusted says of another host; null or empty: what the settings trust.</param>
    /// <param name="credentials">For servers that ask for them by a challenge; null: none are ever given to one.</param>
    public HttpsHost(Uri address, ConnectorSettings settings, string? thumbprint = null, ICredentials? credentials = null)
    {
        _thumbprint = thumbprint is { Length: > 0 } ? thumbprint.Replace(":", "", StringComparison.Ordinal) : null;
        Address = address;
        _settings = settings;
        _client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = (context, _) => ValueTask.FromResult<Stream>(Connect(context.DnsEndPoint)),
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = IsTrusted, EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13 },
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            UseProxy = false,
            Credentials = credentials,
            MaxConnectionsPerServer = MostConnections,
            MaxResponseHeadersLength = MostHeaderKilobytes,
            PooledConnectionIdleTimeout = MostIdle,
            ConnectTimeout = settings.Silence,
        })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
    }

    public Uri Address { get; }

    /// <summary>Sends a request and waits for the head of its answer.</summary>
    /// <exception cref="ConnectorException">The host is not the one that is trusted.</exception>
    /// <exception cref="HostLostException">There is no answer.</exception>
    public HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(_settings.Silence);
        try
        {
            request.Version = HttpVersion.Version11;
            return _client.Send(request, HttpCompletionOption.ResponseHeadersRead, limit.Token);
        }
        catch (HttpRequestException e) when (e.GetBaseException() is SocketException { SocketErrorCode: SocketError.TimedOut })
        {
            // The socket's own limit is as long, and may be the first that is noticed.
            throw Silent(e);
        }
        catch (HttpRequestException e)
        {
            throw e.InnerException is AuthenticationException ? new ConnectorException(_refusedCertificate ?? $"{Address.Authority}: {e.InnerException.Message}", e) : new HostLostException($"{Address.Authority}: {Innermost(e)}", e);
        }
        catch (OperationCanceledException e) when (!cancellation.IsCancellationRequested)
        {
            throw Silent(e);
        }
    }

    /// <summary>The whole body, within a size and a time.</summary>
    /// <exception cref="InvalidDataException">It is longer.</exception>
    /// <exception cref="HostLostException">It does not come.</exception>
    public byte[] Body(HttpResponseMessage response, int most, CancellationToken cancellation)
    {
        if (response.Content.Headers.ContentLength > most)
        {
            throw new InvalidDataException($"{Address.Authority}: an answer of more than {most} bytes");
        }

        using var whole = new MemoryStream();
        byte[] buffer = new byte[64 << 10];
        Stream stream = response.Content.ReadAsStream(cancellation);
        for (long started = Environment.TickCount64; ;)
        {
            int got = ReadSome(stream, buffer, started, cancellation);
            if (got == 0)
            {
                return whole.ToArray();
            }

            if (whole.Length + got > most)
            {
                throw new InvalidDataException($"{Address.Authority}: an answer of more than {most} bytes");
            }

            whole.Write(buffer, 0, got);
        }
    }

    /// <summary>Some bytes of a body, where neither a pause nor the whole takes too long.</summary>
    /// <param name="started">When its reading was begun.</param>
    public int ReadSome(Stream body, Span<byte> buffer, long started, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        if (Environment.TickCount64 - started > MostBody.TotalMilliseconds)
        {
            throw new HostLostException($"{Address.Authority}: an answer takes longer than {MostBody.TotalSeconds} s");
        }

        try
        {
            return body.Read(buffer);
        }
        catch (Exception e) when (e is HttpRequestException or ObjectDisposedException or SocketException || (e is IOException && e is not ConnectorException))
        {
            cancellation.ThrowIfCancellationRequested();
            throw new HostLostException($"{Address.Authority}: the answer breaks off: {Innermost(e)}", e);
        }
    }

    public AuthenticationHeaderValue Basic() =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{_settings.Account}:{_settings.Secret?.Read()}")));

    public void Dispose() => _client.Dispose();

    /// <summary>For a page of an inventory or some megabytes of a file; who sends slower than that does not want to be read.</summary>
    private TimeSpan MostBody => _settings.Silence * 4;

    private HostLostException Silent(Exception e) => new($"{Address.Authority} does not answer within {_settings.Silence.TotalSeconds} s", e);

    private static string Innermost(Exception e) => e.GetBaseException().Message;

    private NetworkStream Connect(DnsEndPoint to)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            using var limit = new CancellationTokenSource(_settings.Silence);
            using (limit.Token.Register(socket.Dispose))
            {
                socket.Connect(to.Host, to.Port);
            }

            // What ends waits of blocking reads.
            socket.ReceiveTimeout = (int)_settings.Silence.TotalMilliseconds;
            socket.SendTimeout = (int)_settings.Silence.TotalMilliseconds;
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (ObjectDisposedException e)
        {
            throw new IOException($"{to.Host} cannot be reached within {_settings.Silence.TotalSeconds} s", e);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private bool IsTrusted(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (certificate is null)
        {
            return false;
        }

        string seen = Convert.ToHexString(SHA256.HashData(certificate.GetRawCertData()));
        bool isTrusted = _thumbprint is not null ? string.Equals(certificate.GetCertHashString(), _thumbprint, StringComparison.OrdinalIgnoreCase)
            : _settings.PinnedCertificate is { } pinned ? seen == pinned
            : _settings.CaFile is { } ca ? (errors & ~SslPolicyErrors.RemoteCertificateChainErrors) == 0 && IsSignedBy(ca, certificate)
            : errors == SslPolicyErrors.None;
        if (!isTrusted)
        {
            _refusedCertificate = _settings.PinnedCertificate is not null
                ? $"{Address.Authority}: its certificate is sha256:{seen}, which is not the pinned one; nothing was sent to it"
                : $"{Address.Authority}: its certificate (sha256:{seen}) is signed by nobody that is trusted here ({errors}); name the signer as \"ca\", or pin it as \"certificate\"; nothing was sent to it";
        }

        return isTrusted;
    }

    private static bool IsSignedBy(string file, X509Certificate certificate)
    {
        try
        {
            using var chain = new X509Chain();
            chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            chain.ChainPolicy.CustomTrustStore.ImportFromPemFile(file);
            chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
            using var second = X509CertificateLoader.LoadCertificate(certificate.GetRawCertData());
            return chain.Build(second);
        }
        catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
