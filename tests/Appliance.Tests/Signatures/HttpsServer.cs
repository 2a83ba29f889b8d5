using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Signatures;

/// <summary>
/// A small HTTPS server on this machine's own address, with a certificate of a CA that openssl made. It can break off, lie about ranges, and
/// serve as a proxy that only tunnels.
/// </summary>
internal sealed class HttpsServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly X509Certificate2 _certificate;
    private readonly CancellationTokenSource _stop = new();

    public HttpsServer(Scratch scratch)
    {
        Tool.Shell("""
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=test CA' -keyout ca.key -out ca.pem 2>/dev/null
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=127.0.0.1' -keyout srv.key -out srv.csr 2>/dev/null
            printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > srv.ext
            openssl x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile srv.ext -out srv.pem 2>/dev/null
            """, scratch.Folder);
        Ca = scratch["ca.pem"];
        using var pem = X509Certificate2.CreateFromPemFile(scratch["srv.pem"], scratch["srv.key"]);
        _certificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
        _listener.Start();
        _ = Accept();
    }

    public string Ca { get; }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public string Url => string.Create(CultureInfo.InvariantCulture, $"https://127.0.0.1:{Port}/acme.vmbundle");

    /// <summary>What is served; null: 404.</summary>
    public byte[]? Content { get; set; }

    public string? ETag { get; set; } = "\"one\"";

    /// <summary>For each answer with a body in turn, after how many bytes of it the connection breaks; whole when there is none left.</summary>
    public ConcurrentQueue<int> Breaks { get; } = new();

    /// <summary>Headers of the answer instead of what is right; null: right.</summary>
    public Func<string, string?>? Lie { get; set; }

    /// <summary>Request heads in order, for tests to look at.</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>Targets of CONNECT, where it served as a proxy.</summary>
    public ConcurrentQueue<string> Tunnels { get; } = new();

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Stop();
        _certificate.Dispose();
        _stop.Dispose();
    }

    private async Task Accept()
    {
        try
        {
            while (true)
            {
                _ = Serve(await _listener.AcceptTcpClientAsync(_stop.Token));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
        }
    }

    private async Task Serve(TcpClient client)
    {
        using TcpClient held = client;
        try
        {
            NetworkStream plain = client.GetStream();
            byte[] first = new byte[1];
            await client.Client.ReceiveAsync(first, SocketFlags.Peek);
            if (first[0] == (byte)'C')
            {
                await Tunnel(plain);
                return;
            }

            await using var tls = new SslStream(plain);
            await tls.AuthenticateAsServerAsync(_certificate);
            await Answer(tls, await Head(tls));
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException or System.Security.Authentication.AuthenticationException or OperationCanceledException)
        {
            // The client went away.
        }
    }

    private static async Task<string> Head(Stream stream)
    {
        var head = new StringBuilder();
        byte[] one = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal) && await stream.ReadAsync(one) > 0)
        {
            head.Append((char)one[0]);
        }

        return head.ToString();
    }

    private async Task Answer(Stream stream, string head)
    {
        Requests.Enqueue(head);
        if (Lie?.Invoke(head) is { } lie)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(lie));
            return;
        }

        string tag = ETag is null ? "" : $"ETag: {ETag}\r\n";
        if (Content is null)
        {
            await stream.WriteAsync("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"u8.ToArray());
        }
        else if (ETag is not null && Header(head, "If-None-Match") == ETag)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.1 304 Not Modified\r\n{tag}Connection: close\r\n\r\n"));
        }
        else
        {
            bool isRange = Header(head, "Range") is not null && Header(head, "If-Range") == ETag;
            int from = isRange ? int.Parse(Header(head, "Range")!["bytes=".Length..^1], CultureInfo.InvariantCulture) : 0;
            string status = isRange ? $"206 Partial Content\r\nContent-Range: bytes {from}-{Content.Length - 1}/{Content.Length}" : "200 OK";
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.1 {status}\r\n{tag}Content-Length: {Content.Length - from}\r\nConnection: close\r\n\r\n"));
            int count = Breaks.TryDequeue(out int most) ? Math.Min(most, Content.Length - from) : Content.Length - from;
            await stream.WriteAsync(Content.AsMemory(from, count));
            await stream.FlushAsync();
        }
    }

    private static string? Header(string head, string name) =>
        head.Split("\r\n").FirstOrDefault(l => l.StartsWith(name + ":", StringComparison.OrdinalIgnoreCase))?[(name.Length + 1)..].Trim();

    private async Task Tunnel(NetworkStream client)
    {
        string target = (await Head(client)).Split(' ')[1];
        Tunnels.Enqueue(target);
        string[] parts = target.Split(':');
        using var to = new TcpClient();
        await to.ConnectAsync(parts[0], int.Parse(parts[1], CultureInfo.InvariantCulture));
        await client.WriteAsync("HTTP/1.1 200 OK\r\n\r\n"u8.ToArray());
        NetworkStream server = to.GetStream();
        await Task.WhenAny(client.CopyToAsync(server), server.CopyToAsync(client));
    }
}
