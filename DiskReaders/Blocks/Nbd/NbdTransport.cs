using System.Net.Sockets;

namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>How to reach an NBD server. Every call of <see cref="Connect"/> makes a connection of its own.</summary>
/// <param name="Name">For messages.</param>
/// <param name="Connect">Opens the bytes; <see cref="IOException"/> when that fails.</param>
/// <param name="Secure">Puts TLS over the bytes after <c>NBD_OPT_STARTTLS</c>; null where none is wanted.</param>
public sealed record NbdTransport(string Name, Func<Stream> Connect, Func<Stream, Stream>? Secure = null)
{
    /// <summary>A socket's buffers: as much as one request, so that a server may answer while the last answer is still unpacked.</summary>
    private const int BufferBytes = 1 << 20;

    /// <param name="path">A path that the appliance chose, never one found in an image.</param>
    public static NbdTransport Unix(string path) => new(path, () => ConnectUnix(path));

    private static NetworkStream ConnectUnix(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.ReceiveBufferSize = BufferBytes;
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            socket.Dispose();
            throw new IOException($"{path}: cannot connect: {e.Message}", e);
        }
    }
}
