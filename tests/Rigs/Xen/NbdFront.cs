using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Vmsweep.Rigs.Xen;

/// <summary>
/// Knows of NBD what the server on XenServer's hosts knows: the fixed newstyle with TLS demanded, NBD_OPT_EXPORT_NAME, and that everything else is not
/// supported. What comes after the name is another server's, by the same option.
/// </summary>
public sealed class NbdFront : IDisposable
{
    private const uint ExportName = 1;
    private const uint StartTls = 5;
    private const uint Unsupported = 0x8000_0001;
    private const uint TlsRequired = 0x8000_0005;

    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly List<IDisposable> _open = [];
    private readonly string _behind;
    private readonly X509Certificate2? _certificate;
    private readonly Func<string, bool> _isKnown;

    /// <param name="behind">The Unix socket of a server whose default export it serves.</param>
    /// <param name="pki">Folder of its certificate; null: without TLS.</param>
    /// <param name="isKnown">Whether an export's name is one.</param>
    public NbdFront(string behind, string? pki, Func<string, bool> isKnown)
    {
        (_behind, _isKnown) = (behind, isKnown);
        _certificate = pki is null ? null : X509Certificate2.CreateFromPemFile(Path.Combine(pki, "server-cert.pem"), Path.Combine(pki, "server-key.pem"));
        _listener.Start();
        new Thread(Accept) { IsBackground = true }.Start();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose()
    {
        _listener.Dispose();
        lock (_open)
        {
            _open.ForEach(o => o.Dispose());
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
            {
                Stream stream = client.GetStream();
                stream.Write([.. "NBDMAGIC"u8, .. "IHAVEOPT"u8, 0, 1]);
                stream.ReadExactly(new byte[4]);
                while (true)
                {
                    byte[] header = new byte[16];
                    stream.ReadExactly(header);
                    uint option = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8));
                    byte[] data = new byte[BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12))];
                    stream.ReadExactly(data);
                    bool isOpen = _certificate is not null && stream is not SslStream;
                    if (option == StartTls && isOpen)
                    {
                        Reply(stream, option, 1);
                        var secured = new SslStream(stream);
                        secured.AuthenticateAsServer(_certificate!);
                        stream = secured;
                    }
                    else if (isOpen)
                    {
                        Reply(stream, option, TlsRequired);
                    }
                    else if (option == ExportName)
                    {
                        if (_isKnown(Encoding.UTF8.GetString(data)))
                        {
                            Join(stream);
                        }

                        return;
                    }
                    else
                    {
                        Reply(stream, option, Unsupported);
                    }
                }
            }
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException or System.Security.Authentication.AuthenticationException)
        {
            // The client went away, or was told to.
        }
    }

    private void Join(Stream stream)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(_behind));
        using var server = new NetworkStream(socket);
        byte[] greeting = new byte[18];
        server.ReadExactly(greeting);
        server.Write([0, 0, 0, 1, .. "IHAVEOPT"u8, 0, 0, 0, 1, 0, 0, 0, 0]);

        // A sector is the least that may be asked for: XenServer's refuses anything else.
        var back = new Thread(() => Pump(server, stream)) { IsBackground = true };
        back.Start();
        byte[] request = new byte[28];
        while (stream.ReadAtLeast(request, request.Length, throwOnEndOfStream: false) == request.Length)
        {
            long from = BinaryPrimitives.ReadInt64BigEndian(request.AsSpan(16));
            uint count = BinaryPrimitives.ReadUInt32BigEndian(request.AsSpan(24));
            if (from % 512 != 0 || count % 512 != 0)
            {
                return;
            }

            server.Write(request);
        }
    }

    private static void Pump(Stream from, Stream to)
    {
        try
        {
            from.CopyTo(to);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // One of the two is gone.
        }
    }

    private static void Reply(Stream stream, uint option, uint type)
    {
        byte[] message = new byte[20];
        BinaryPrimitives.WriteUInt64BigEndian(message, 0x0003_E889_0455_65A9);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(8), option);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(12), type);
        stream.Write(message);
    }
}
