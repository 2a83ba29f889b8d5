using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using static Vmsweep.DiskReaders.Blocks.Nbd.NbdProtocol;

namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>
/// One connection to a server with many requests in flight: callers send, one thread receives. A server that breaks the protocol loses the
/// connection, and every request on it fails.
/// </summary>
internal sealed class NbdConnection : IDisposable
{
    /// <summary>A status reply of 64 Ki runs; QEMU sends at most twice as many bytes.</summary>
    private const int MostStatusBytes = 1 << 20;

    private readonly Stream _stream;
    private readonly string _server;
    private readonly Lock _sending = new();
    private readonly Dictionary<ulong, NbdRequest> _pending = [];
    private readonly Thread _receiver;
    private readonly byte[] _header = new byte[32];
    private readonly byte[] _request = new byte[RequestBytes];
    private ulong _cookie;
    private long _inFlight;
    private IOException? _broken;

    private NbdConnection(Stream stream, string server, NbdAgreement agreement)
    {
        _stream = stream;
        _server = server;
        Agreement = agreement;
        _receiver = new Thread(Receive) { IsBackground = true, Name = "nbd" };
        _receiver.Start();
    }

    public NbdAgreement Agreement { get; }

    public bool IsBroken
    {
        get
        {
            lock (_pending)
            {
                return _broken is not null;
            }
        }
    }

    /// <summary>Bytes asked for and not yet here.</summary>
    public long InFlight => Interlocked.Read(ref _inFlight);

    /// <exception cref="IOException">The server cannot be reached or refuses.</exception>
    public static NbdConnection Open(NbdTransport transport, string export, IReadOnlyList<string> contexts, TimeSpan timeout)
    {
        Stream stream = transport.Connect();
        long started = Stopwatch.GetTimestamp();
        try
        {
            SetTimeouts(stream, (int)timeout.TotalMilliseconds);
            var handshake = new NbdHandshake(stream, transport.Name, () => Stopwatch.GetElapsedTime(started) > timeout);
            NbdAgreement agreement = handshake.Run(export, contexts, transport.Secure);
            stream = handshake.Stream;
            // From here on nothing may come for a long time: who waits for an answer keeps the time.
            SetTimeouts(stream, Timeout.Infinite, (int)timeout.TotalMilliseconds);
            return new NbdConnection(stream, transport.Name, agreement);
        }
        catch (Exception e)
        {
            stream.Dispose();
            if (e is IOException or ObjectDisposedException or System.Security.Authentication.AuthenticationException)
            {
                throw e as IOException ?? new IOException($"{transport.Name}: {e.Message}", e);
            }

            throw;
        }
    }

    /// <summary>Sends a request. It is completed in any case, by an answer or by the connection's end.</summary>
    public void Send(NbdRequest request)
    {
        lock (_sending)
        {
            ulong cookie = ++_cookie;
            lock (_pending)
            {
                if (_broken is { } broken)
                {
                    request.Fail(broken, isBroken: true);
                    request.Complete();
                    return;
                }

                _pending.Add(cookie, request);
            }

            Interlocked.Add(ref _inFlight, request.Length);
            try
            {
                Write(request.Command, cookie, request.Offset, (uint)request.Length);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                Break(e.Message);
            }
        }
    }

    /// <summary>Ends the connection; its requests fail.</summary>
    public void Break(string why)
    {
        lock (_pending)
        {
            _broken ??= new IOException($"{_server}: {why}");
        }

        // The receiving thread wakes up and completes what is pending: the buffers are its own until then.
        _stream.Dispose();
    }

    public void Dispose()
    {
        lock (_sending)
        {
            try
            {
                Write(CmdDisc, ++_cookie, 0, 0);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // It is gone already.
            }
        }

        Break("closed");
        _receiver.Join();
    }

    private static void SetTimeouts(Stream stream, int read, int? write = null)
    {
        if (stream.CanTimeout)
        {
            stream.ReadTimeout = read;
            stream.WriteTimeout = write ?? read;
        }
    }

    private void Write(ushort command, ulong cookie, long offset, uint length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(_request.AsSpan(4), 0);
        BinaryPrimitives.WriteUInt16BigEndian(_request.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(_request.AsSpan(8), cookie);
        BinaryPrimitives.WriteInt64BigEndian(_request.AsSpan(16), offset);
        BinaryPrimitives.WriteUInt32BigEndian(_request.AsSpan(24), length);
        _stream.Write(_request);
        _stream.Flush();
    }

    private void Receive()
    {
        string why;
        try
        {
            while (true)
            {
                ReceiveOne();
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or NotSupportedException)
        {
            why = e.Message;
        }

        Break(why);
        List<NbdRequest> left;
        lock (_pending)
        {
            left = [.. _pending.Values];
            _pending.Clear();
        }

        foreach (NbdRequest request in left)
        {
            request.Fail(_broken!, isBroken: true);
            Finish(request);
        }
    }

    private void ReceiveOne()
    {
        Span<byte> header = _header;
        Fill(header[..16]);
        uint magic = BinaryPrimitives.ReadUInt32BigEndian(header);
        if (magic == SimpleReplyMagic)
        {
            ReceiveSimple(BinaryPrimitives.ReadUInt32BigEndian(header[4..]), BinaryPrimitives.ReadUInt64BigEndian(header[8..]));
        }
        else if (magic == StructuredReplyMagic && Agreement.IsStructured)
        {
            ushort flags = BinaryPrimitives.ReadUInt16BigEndian(header[4..]);
            ushort type = BinaryPrimitives.ReadUInt16BigEndian(header[6..]);
            ulong cookie = BinaryPrimitives.ReadUInt64BigEndian(header[8..]);
            Fill(header[16..20]);
            ReceiveChunk(flags, type, cookie, BinaryPrimitives.ReadUInt32BigEndian(header[16..]));
        }
        else
        {
            throw new IOException("what came is no reply");
        }
    }

    private void ReceiveSimple(uint error, ulong cookie)
    {
        NbdRequest request = Find(cookie);
        if (error != 0)
        {
            request.Fail(new IOException($"{_server}: {Meaning(error)} at {request.Offset}"));
        }
        else if (request.Command != CmdRead || Agreement.IsStructured)
        {
            throw new IOException("a simple reply where a structured one was agreed on");
        }
        else
        {
            Fill(request.Buffer.Span);
        }

        Take(cookie, request);
    }

    private void ReceiveChunk(ushort flags, ushort type, ulong cookie, uint length)
    {
        NbdRequest request = Find(cookie);
        switch (type)
        {
            case ReplyNone when length == 0:
                break;
            case ReplyOffsetData when request.Command == CmdRead && length > 8:
                Fill(_header.AsSpan(0, 8));
                long at = BinaryPrimitives.ReadInt64BigEndian(_header);
                if (!request.Cover(at, length - 8L))
                {
                    throw new IOException("content that was not asked for");
                }

                Fill(request.Buffer.Span.Slice((int)(at - request.Offset), (int)(length - 8)));
                break;
            case ReplyOffsetHole when request.Command == CmdRead && length == 12:
                Fill(_header.AsSpan(0, 12));
                long hole = BinaryPrimitives.ReadInt64BigEndian(_header);
                uint zeros = BinaryPrimitives.ReadUInt32BigEndian(_header.AsSpan(8));
                if (!request.Cover(hole, zeros))
                {
                    throw new IOException("a hole that was not asked for");
                }

                request.Buffer.Span.Slice((int)(hole - request.Offset), (int)zeros).Clear();
                break;
            case ReplyBlockStatus when request.Command == CmdBlockStatus && length >= 12 && length % 8 == 4 && length <= MostStatusBytes:
                ReceiveStatus(request, length);
                break;
            case >= ReplyError when length is >= 6 and <= 6 + MostString + 8:
                request.Fail(new IOException($"{_server}: {ReadError(length)} at {request.Offset}"));
                break;
            default:
                throw new IOException($"a reply of type {type} and {length} bytes to a command of type {request.Command}");
        }

        if ((flags & ReplyFlagDone) != 0)
        {
            if (request.Failure is null && request.Command == CmdRead && !request.IsCovered)
            {
                throw new IOException("a reply that lacks a part of what was asked for");
            }

            Take(cookie, request);
        }
    }

    private void ReceiveStatus(NbdRequest request, uint length)
    {
        byte[] data = new byte[length];
        Fill(data);
        uint context = BinaryPrimitives.ReadUInt32BigEndian(data);
        if (request.Status.Exists(s => s.Context == context))
        {
            throw new IOException("two answers for one context");
        }

        long sum = 0;
        for (int i = 4; i < data.Length; i += 8)
        {
            uint run = BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(i));
            if (run == 0 || sum >= request.Length)
            {
                throw new IOException("runs that lead nowhere");
            }

            sum += run;
            request.Status.Add((context, run, BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(i + 4))));
        }

        if (request.Status.Count > 2 * MostStatusBytes / 8)
        {
            throw new IOException("more runs than any server sends");
        }
    }

    private string ReadError(uint length)
    {
        byte[] data = new byte[length];
        Fill(data);
        int text = Math.Min(BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(4)), data.Length - 6);
        string said = Encoding.UTF8.GetString(data, 6, text);
        return Meaning(BinaryPrimitives.ReadUInt32BigEndian(data)) + (said.Length > 0 ? $" ({said})" : "");
    }

    private NbdRequest Find(ulong cookie)
    {
        lock (_pending)
        {
            return _pending.TryGetValue(cookie, out NbdRequest? request) ? request : throw new IOException("a reply to nothing that was asked");
        }
    }

    private void Take(ulong cookie, NbdRequest request)
    {
        lock (_pending)
        {
            _pending.Remove(cookie);
        }

        Finish(request);
    }

    private void Finish(NbdRequest request)
    {
        Interlocked.Add(ref _inFlight, -request.Length);
        request.Complete();
    }

    private void Fill(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int got = _stream.Read(destination);
            if (got == 0)
            {
                throw new IOException("the server closed the connection");
            }

            destination = destination[got..];
        }
    }
}
