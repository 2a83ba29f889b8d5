using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Vmsweep.Signatures.ClamAv;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// A Unix socket between workers and <c>clamd</c>. Whoever may speak to the daemon may also end it and have it look at files of the host; a worker
/// that a guest has taken over must not. So this takes one command, INSTREAM, hands on its content unread and the answer back. It also
/// outlives a restart of the daemon, whose socket is then another file than the one that a sandbox was given.
/// </summary>
internal sealed class ClamdGate : IDisposable
{
    private const int Backlog = 64;
    private const int PartBytes = 64 << 10;
    private const int MostAnswerBytes = 4096;

    /// <summary>Beyond it a worker waits for its turn.</summary>
    private const int MostConnections = 256;

    private readonly string _clamd;
    private readonly int _timeout;
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly SemaphoreSlim _free = new(MostConnections);
    private readonly HashSet<Socket> _open = [];
    private bool _isClosed;

    /// <param name="path">Where workers connect.</param>
    /// <param name="clamd">The daemon's socket.</param>
    /// <param name="timeout">How long either side may do nothing.</param>
    public ClamdGate(string path, string clamd, TimeSpan timeout)
    {
        Path = path;
        _clamd = clamd;
        _timeout = (int)timeout.TotalMilliseconds;
        _listener.Bind(new UnixDomainSocketEndPoint(path));
        _listener.Listen(Backlog);
        new Thread(Accept) { IsBackground = true, Name = "clamd gate" }.Start();
    }

    public string Path { get; }

    public void Dispose()
    {
        _listener.Dispose();
        lock (_open)
        {
            _isClosed = true;
            foreach (Socket socket in _open)
            {
                socket.Dispose();
            }
        }
    }

    private void Accept()
    {
        try
        {
            while (true)
            {
                Socket worker = _listener.Accept();
                _free.Wait();
                new Thread(() => Serve(worker)) { IsBackground = true, Name = "clamd gate" }.Start();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Closed with the run.
        }
    }

    private void Serve(Socket worker)
    {
        using var clamd = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            Keep(worker);
            Keep(clamd);
            if (!IsScan(worker))
            {
                return;
            }

            try
            {
                clamd.Connect(new UnixDomainSocketEndPoint(_clamd));
            }
            catch (SocketException e)
            {
                SendAll(worker, Encoding.UTF8.GetBytes($"{ClamdOptions.UnreachablePrefix}{e.Message}\0"));
                return;
            }

            HandOn(worker, clamd);
            Answer(clamd, worker);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or EndOfStreamException)
        {
            // One side is gone: so is the other then, and the worker sees a connection without an answer.
        }
        finally
        {
            Drop(worker);
            Drop(clamd);
            _free.Release();
        }
    }

    private static bool IsScan(Socket worker)
    {
        Span<byte> command = stackalloc byte[ClamdOptions.ScanCommand.Length];
        Fill(worker, command);
        return command.SequenceEqual(ClamdOptions.ScanCommand);
    }

    /// <summary>Chunk by chunk to the empty one, so that nothing behind it reaches the daemon; or until the daemon takes no more.</summary>
    private static void HandOn(Socket worker, Socket clamd)
    {
        byte[] part = new byte[PartBytes];
        try
        {
            SendAll(clamd, ClamdOptions.ScanCommand);
        }
        catch (SocketException)
        {
            return;
        }

        Span<byte> length = stackalloc byte[4];
        while (true)
        {
            Fill(worker, length);
            if (!TrySend(clamd, length))
            {
                return;
            }

            uint left = BinaryPrimitives.ReadUInt32BigEndian(length);
            if (left == 0)
            {
                return;
            }

            while (left > 0)
            {
                int count = (int)Math.Min(left, PartBytes);
                Fill(worker, part.AsSpan(0, count));
                if (!TrySend(clamd, part.AsSpan(0, count)))
                {
                    return;
                }

                left -= (uint)count;
            }
        }
    }

    private static void Answer(Socket clamd, Socket worker)
    {
        byte[] answer = new byte[MostAnswerBytes];
        int length = 0;
        while (length < answer.Length && !answer.AsSpan(0, length).Contains((byte)0))
        {
            int got = clamd.Receive(answer.AsSpan(length));
            if (got == 0)
            {
                break;
            }

            length += got;
        }

        SendAll(worker, answer.AsSpan(0, length));
    }

    private static bool TrySend(Socket clamd, ReadOnlySpan<byte> bytes)
    {
        try
        {
            SendAll(clamd, bytes);
            return true;
        }
        catch (SocketException)
        {
            // It has said why: that is to be handed on.
            return false;
        }
    }

    private static void SendAll(Socket socket, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            bytes = bytes[socket.Send(bytes)..];
        }
    }

    private static void Fill(Socket socket, Span<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int got = socket.Receive(bytes);
            bytes = got > 0 ? bytes[got..] : throw new EndOfStreamException();
        }
    }

    private void Keep(Socket socket)
    {
        socket.SendTimeout = socket.ReceiveTimeout = _timeout;
        lock (_open)
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            _open.Add(socket);
        }
    }

    private void Drop(Socket socket)
    {
        lock (_open)
        {
            _open.Remove(socket);
        }

        socket.Dispose();
    }
}
