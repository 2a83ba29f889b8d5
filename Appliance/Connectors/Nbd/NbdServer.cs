using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using Serilog;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Nbd;

/// <summary>
/// Serves sources, read only, to NBD clients: how bytes that a connector has by other means reach a worker, which knows files and NBD alone.
/// Spec: nbd doc/proto.md, the baseline and structured replies, base:allocation, several connections, TLS.
/// </summary>
internal sealed class NbdServer : IDisposable
{
    /// <summary>A client uses a handful; more is somebody who wants memory.</summary>
    private const int MostConnections = 64;

    private readonly Socket _listener;
    private readonly string? _path;
    private readonly Lock _lock = new();
    private readonly HashSet<Socket> _clients = [];
    private readonly Thread _accepting;
    private readonly List<Thread> _serving = [];
    private bool _isClosed;

    private NbdServer(Socket listener, string? path, IReadOnlyDictionary<string, IBlockSource> exports, SslServerAuthenticationOptions? tls)
    {
        _listener = listener;
        _path = path;
        _accepting = new Thread(() => Accept(exports, tls)) { IsBackground = true, Name = "nbd server" };
        _accepting.Start();
    }

    /// <summary>Where it listens, with the port that it was given.</summary>
    public EndPoint EndPoint => _listener.LocalEndPoint!;

    /// <summary>Serves on a Unix socket that only this account may connect to.</summary>
    /// <param name="path">Must not exist; removed at the end.</param>
    /// <param name="exports">By name. Not disposed with the server.</param>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    public static NbdServer OnUnix(string path, IReadOnlyDictionary<string, IBlockSource> exports)
    {
        Socket listener = Listen(new UnixDomainSocketEndPoint(path), () => File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite));
        return new NbdServer(listener, path, exports, null);
    }

    /// <summary>Serves on TCP.</summary>
    /// <param name="tls">Then nothing but the offer of TLS is answered without it.</param>
    /// <exception cref="IOException">The port cannot be had.</exception>
    public static NbdServer OnTcp(IPEndPoint address, IReadOnlyDictionary<string, IBlockSource> exports, SslServerAuthenticationOptions? tls) =>
        new(Listen(address, () => { }), null, exports, tls);

    public void Dispose()
    {
        List<Thread> serving;
        lock (_lock)
        {
            _isClosed = true;
            foreach (Socket client in _clients)
            {
                client.Dispose();
            }

            serving = [.. _serving];
        }

        _listener.Dispose();
        _accepting.Join();
        serving.ForEach(t => t.Join());
        if (_path is not null)
        {
            File.Delete(_path);
        }
    }

    private static Socket Listen(EndPoint address, Action beforeListening)
    {
        var listener = new Socket(address.AddressFamily, SocketType.Stream, address.AddressFamily == AddressFamily.Unix ? ProtocolType.Unspecified : ProtocolType.Tcp);
        try
        {
            listener.Bind(address);
            beforeListening();
            listener.Listen();
            return listener;
        }
        catch (Exception e) when (e is SocketException or ArgumentException or UnauthorizedAccessException)
        {
            listener.Dispose();
            throw new IOException($"cannot serve on {address}: {e.Message}", e);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    private void Accept(IReadOnlyDictionary<string, IBlockSource> exports, SslServerAuthenticationOptions? tls)
    {
        while (true)
        {
            Socket client;
            try
            {
                client = _listener.Accept();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                lock (_lock)
                {
                    if (_isClosed)
                    {
                        return;
                    }
                }

                // A client that went away while it was let in.
                continue;
            }

            lock (_lock)
            {
                if (_isClosed || _clients.Count >= MostConnections)
                {
                    client.Dispose();
                    continue;
                }

                _clients.Add(client);
                _serving.RemoveAll(t => !t.IsAlive);
                var thread = new Thread(() => Serve(client, exports, tls)) { IsBackground = true, Name = "nbd client" };
                _serving.Add(thread);
                thread.Start();
            }
        }
    }

    private void Serve(Socket client, IReadOnlyDictionary<string, IBlockSource> exports, SslServerAuthenticationOptions? tls)
    {
        try
        {
            if (client.AddressFamily != AddressFamily.Unix)
            {
                client.NoDelay = true;
            }

            using var stream = new NetworkStream(client, ownsSocket: false);
            stream.ReadTimeout = (int)NbdNegotiation.MostTime.TotalMilliseconds;
            var negotiation = new NbdNegotiation(stream, exports, tls);
            if (negotiation.Run() is { } agreed)
            {
                using Stream secured = negotiation.Stream;
                stream.ReadTimeout = Timeout.Infinite;
                new NbdTransmission(secured, agreed).Run();
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or SocketException or System.Security.Authentication.AuthenticationException)
        {
            Log.Information("an NBD client was let go: {Reason}", e.Message);
        }
        finally
        {
            client.Dispose();
            lock (_lock)
            {
                _clients.Remove(client);
            }
        }
    }
}
