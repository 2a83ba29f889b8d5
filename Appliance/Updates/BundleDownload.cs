using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using Serilog;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Updates;

/// <summary>What is known of an address between two updates.</summary>
/// <param name="ETag">Of what came last, or of what came in part.</param>
/// <param name="Id">The bundle that it was; null while it is not whole.</param>
internal sealed record DownloadNote(string Url, string? ETag, string? Id);

/// <summary>
/// Fetches a bundle over HTTPS into a folder. What breaks off is kept with its entity tag and asked for from there on (RFC 9110, sections 13.1.5
/// and 14); nothing in it is believed: the bundle's signature decides.
/// </summary>
internal sealed class BundleDownload : IDisposable
{
    private const int Attempts = 4;

    /// <summary>A server that sends nothing for so long is gone.</summary>
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(60);

    private readonly HttpClient _client;
    private readonly Uri _url;
    private readonly string _folder;
    private readonly long _mostBytes;

    /// <exception cref="BundleException">The address, proxy or CA cannot be used.</exception>
    public BundleDownload(UpdateSource source, string folder, long mostBytes)
    {
        if (!Uri.TryCreate(source.From, UriKind.Absolute, out Uri? url) || url.Scheme != Uri.UriSchemeHttps || url.UserInfo.Length > 0)
        {
            throw new BundleException(source.From, "no address that begins with https:// and carries no password");
        }

        _url = url;
        _folder = folder;
        _mostBytes = mostBytes;
        string name = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(url.AbsoluteUri)))[..32];
        PartPath = Path.Combine(folder, name + ".part");
        NotePath = Path.Combine(folder, name + ".json");
        _client = new HttpClient(Handler(source)) { Timeout = Timeout.InfiniteTimeSpan };
        _client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("vmsweep", typeof(BundleDownload).Assembly.GetName().Version?.ToString(3)));
    }

    /// <summary>Where the bundle lies once it is whole.</summary>
    public string PartPath { get; }

    private string NotePath { get; }

    /// <summary>Fetches what the address has.</summary>
    /// <param name="isKnown">Whether a bundle that came from here before is still there, so that it need not come again.</param>
    /// <returns>False: the address still has what came last.</returns>
    /// <exception cref="BundleException">It cannot be had.</exception>
    public bool Fetch(Func<string, bool> isKnown, Func<TimeSpan, CancellationToken, Task> wait, CancellationToken cancellation)
    {
        Directory.CreateDirectory(_folder);
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return FetchOnce(isKnown, cancellation).GetAwaiter().GetResult();
            }
            catch (Exception e) when (e is HttpRequestException or IOException or TimeoutException && e is not HttpRequestException { StatusCode: >= HttpStatusCode.BadRequest and < HttpStatusCode.InternalServerError })
            {
                if (attempt == Attempts)
                {
                    throw new BundleException(_url.AbsoluteUri, TextOf(e));
                }

                Log.Information("{Url} broke off at attempt {Attempt}: {Reason}", _url.AbsoluteUri, attempt, TextOf(e));
                wait(TimeSpan.FromSeconds(attempt), cancellation).GetAwaiter().GetResult();
            }
            catch (HttpRequestException e)
            {
                throw new BundleException(_url.AbsoluteUri, TextOf(e));
            }
        }
    }

    /// <summary>The bundle was taken: next time it is asked for only if it has changed.</summary>
    public void Accept(string id)
    {
        File.WriteAllBytes(NotePath, JsonSerializer.SerializeToUtf8Bytes(new DownloadNote(_url.AbsoluteUri, Note()?.ETag, id), SourcesJson.Default.DownloadNote));
        File.Delete(PartPath);
    }

    /// <summary>What came is not to be gone on with.</summary>
    public void Discard()
    {
        File.Delete(PartPath);
        File.Delete(NotePath);
    }

    public void Dispose() => _client.Dispose();

    private static SocketsHttpHandler Handler(UpdateSource source)
    {
        // No decompression: a bundle comes as it was signed, and a small answer cannot become a large one.
        var handler = new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(30), MaxAutomaticRedirections = 5, AutomaticDecompression = DecompressionMethods.None };
        if (source.Proxy == "none")
        {
            handler.UseProxy = false;
        }
        else if (source.Proxy is not null)
        {
            handler.Proxy = Uri.TryCreate(source.Proxy, UriKind.Absolute, out Uri? proxy) && proxy.Scheme is "http" or "https" && proxy.UserInfo.Length == 0
                ? new WebProxy(proxy)
                : throw new BundleException(source.Proxy, "no proxy such as http://HOST:PORT; one with a password is named by HTTPS_PROXY in the environment");
        }

        if (source.Ca is { } file)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            try
            {
                policy.CustomTrustStore.ImportFromPemFile(file);
            }
            catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException)
            {
                throw new BundleException(file, e.Message);
            }

            if (policy.CustomTrustStore.Count == 0)
            {
                throw new BundleException(file, "no certificate in PEM");
            }

            handler.SslOptions.CertificateChainPolicy = policy;
        }

        return handler;
    }

    private async Task<bool> FetchOnce(Func<string, bool> isKnown, CancellationToken cancellation)
    {
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        silence.CancelAfter(Silence);
        try
        {
            return await Ask(isKnown, silence).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new TimeoutException($"nothing came for {Silence.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s");
        }
    }

    private async Task<bool> Ask(Func<string, bool> isKnown, CancellationTokenSource silence)
    {
        DownloadNote? note = Note();
        long have = note is { Id: null } && File.Exists(PartPath) ? new FileInfo(PartPath).Length : 0;
        using var request = new HttpRequestMessage(HttpMethod.Get, _url);
        if (EntityTagHeaderValue.TryParse(note?.ETag, out EntityTagHeaderValue? tag))
        {
            if (have > 0 && !tag.IsWeak)
            {
                request.Headers.Range = new RangeHeaderValue(have, null);
                request.Headers.IfRange = new RangeConditionHeaderValue(tag);
            }
            else if (note!.Id is { } id && isKnown(id))
            {
                request.Headers.IfNoneMatch.Add(tag);
            }
        }

        using HttpResponseMessage response = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, silence.Token).ConfigureAwait(false);
        bool isRest = response.StatusCode == HttpStatusCode.PartialContent;
        if (response.StatusCode == HttpStatusCode.NotModified && request.Headers.IfNoneMatch.Count > 0)
        {
            return false;
        }

        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable
            || (isRest && (request.Headers.Range is null || response.Content.Headers.ContentRange is not { HasRange: true } range || range.From != have || !Equals(response.Headers.ETag, tag))))
        {
            Discard();
            throw new IOException("the server does not go on where it broke off; it is fetched anew");
        }

        if (!isRest && response.StatusCode != HttpStatusCode.OK)
        {
            throw new HttpRequestException(string.Create(CultureInfo.InvariantCulture, $"the server answers {(int)response.StatusCode} {response.ReasonPhrase}"), null, response.StatusCode);
        }

        if (response.Content.Headers.ContentEncoding.Count > 0)
        {
            throw new BundleException(_url.AbsoluteUri, "the server packs the bundle (Content-Encoding); it must come as it was signed");
        }

        have = isRest ? have : 0;
        if (have + (response.Content.Headers.ContentLength ?? 0) > _mostBytes)
        {
            Discard();
            throw TooLarge();
        }

        await File.WriteAllBytesAsync(NotePath, JsonSerializer.SerializeToUtf8Bytes(new DownloadNote(_url.AbsoluteUri, response.Headers.ETag?.ToString(), null), SourcesJson.Default.DownloadNote), silence.Token).ConfigureAwait(false);
        Stream body = await response.Content.ReadAsStreamAsync(silence.Token).ConfigureAwait(false);
        await using (body.ConfigureAwait(false))
        {
            await Receive(body, have, silence).ConfigureAwait(false);
        }

        return true;
    }

    private async Task Receive(Stream body, long have, CancellationTokenSource silence)
    {
        var part = new FileStream(PartPath, have > 0 ? FileMode.Append : FileMode.Create, FileAccess.Write, FileShare.None);
        await using (part.ConfigureAwait(false))
        {
            byte[] buffer = new byte[128 << 10];
            for (int got; (got = await body.ReadAsync(buffer, silence.Token).ConfigureAwait(false)) > 0;)
            {
                silence.CancelAfter(Silence);
                have += got;
                if (have > _mostBytes)
                {
                    await part.DisposeAsync().ConfigureAwait(false);
                    Discard();
                    throw TooLarge();
                }

                await part.WriteAsync(buffer.AsMemory(0, got), silence.Token).ConfigureAwait(false);
            }
        }
    }

    private BundleException TooLarge() => new(_url.AbsoluteUri, $"larger than {_mostBytes} bytes");

    private DownloadNote? Note()
    {
        try
        {
            DownloadNote? note = File.Exists(NotePath) ? JsonSerializer.Deserialize(File.ReadAllBytes(NotePath), SourcesJson.Default.DownloadNote) : null;
            return note?.Url == _url.AbsoluteUri ? note : null;
        }
        catch (JsonException)
        {
            // Cut off while it was written: the bundle is fetched anew.
            return null;
        }
    }

    private static string TextOf(Exception e)
    {
        string text = e.Message;
        for (Exception? inner = e.InnerException; inner is not null; inner = inner.InnerException)
        {
            text += text.Contains(inner.Message, StringComparison.Ordinal) ? "" : $" ({inner.Message})";
        }

        return text;
    }
}
