using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Vmsweep.Rigs.Xen;

/// <summary>A request's head and body.</summary>
internal sealed record XenRequest(string Method, string Target, string Body);

/// <summary>HTTPS for a stand-in: one thread a connection, nothing that a handler cannot break.</summary>
internal sealed class XenHttp : IDisposable
{
    private readonly TcpListener _listener;
    private readonly X509Certificate2 _certificate;
    private readonly Action<XenRequest, Stream> _handle;
    private readonly HashSet<TcpClient> _open = [];

    /// <param name="handle">Writes the whole answer; what it throws closes the connection.</param>
    public XenHttp(IPEndPoint at, X509Certificate2 certificate, Action<XenRequest, Stream> handle)
    {
        _listener = new TcpListener(at);
        (_certificate, _handle) = (certificate, handle);
        _listener.Start();
        new Thread(Accept) { IsBackground = true }.Start();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public static void Answer(Stream stream, int status, string body, string headers = "")
    {
        byte[] bytes = Encoding.UTF8.GetBytes(body);
        stream.Write(Encoding.ASCII.GetBytes($"HTTP/1.1 {status} status\r\n{headers}content-type: application/json\r\ncontent-length: {bytes.Length}\r\n\r\n"));
        stream.Write(bytes);
        stream.Flush();
    }

    public void Dispose()
    {
        _listener.Dispose();
        lock (_open)
        {
            foreach (TcpClient client in _open)
            {
                client.Dispose();
            }
        }
    }

    private void Accept()
    {
        try
        {
            while (true)
            {
                TcpClient client = _listener.AcceptTcpClient();
                lock (_open)
                {
                    _open.Add(client);
                }

                new Thread(() => Serve(client)) { IsBackground = true }.Start();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // Its end.
        }
    }

    private void Serve(TcpClient client)
    {
        try
        {
            using (client)
            using (var stream = new SslStream(client.GetStream()))
            {
                client.NoDelay = true;
                stream.AuthenticateAsServer(_certificate);
                while (Read(stream) is { } request)
                {
                    _handle(request, stream);
                }
            }
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException or System.Security.Authentication.AuthenticationException or OperationCanceledException)
        {
            // A client that went away, or one that a fault was meant for.
        }
        finally
        {
            lock (_open)
            {
                _open.Remove(client);
            }
        }
    }

    private static XenRequest? Read(SslStream stream)
    {
        var head = new StringBuilder();
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            int next = stream.ReadByte();
            if (next < 0)
            {
                return null;
            }

            head.Append((char)next);
        }

        string[] lines = head.ToString().Split("\r\n");
        string length = lines.FirstOrDefault(l => l.StartsWith("content-length:", StringComparison.OrdinalIgnoreCase))?[15..].Trim() ?? "0";
        byte[] body = new byte[int.Parse(length, System.Globalization.CultureInfo.InvariantCulture)];
        stream.ReadExactly(body);
        string[] words = lines[0].Split(' ');
        return new XenRequest(words[0], words[1], Encoding.UTF8.GetString(body));
    }
}
