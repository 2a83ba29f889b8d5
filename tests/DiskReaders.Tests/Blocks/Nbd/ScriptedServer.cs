using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.Blocks.Nbd;

/// <summary>
/// A server without a process or a socket, which answers as the specification has it and damages its own answers as it is told. Written byte by byte, so
/// that it shares nothing with the client.
/// </summary>
/// <param name="content">What it exports.</param>
/// <param name="damage">Given all answers one after the other, with their places in the whole of what was sent; null ends the connection there.</param>
/// <param name="patience">So long nothing more comes before the connection is closed.</param>
internal sealed class ScriptedServer(byte[] content, Func<long, byte[], byte[]?> damage, TimeSpan patience) : Stream
{
    private readonly BlockingCollection<byte[]> _answers = [];
    private readonly CancellationTokenSource _closed = new();
    private readonly MemoryStream _asked = new();
    private byte[] _current = [];
    private int _at;
    private long _sent;
    private int _state;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer)
    {
        if (_state == 0)
        {
            _state = 1;
            Answer([.. "NBDMAGIC"u8, .. "IHAVEOPT"u8, 0, 3]);
        }

        while (_at == _current.Length)
        {
            try
            {
                if (!_answers.TryTake(out byte[]? next, (int)patience.TotalMilliseconds, _closed.Token))
                {
                    return 0;
                }

                _current = next;
                _at = 0;
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or InvalidOperationException)
            {
                throw new IOException("closed", e);
            }
        }

        int count = Math.Min(buffer.Length, _current.Length - _at);
        _current.AsSpan(_at, count).CopyTo(buffer);
        _at += count;
        return count;
    }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (_closed.IsCancellationRequested)
        {
            throw new IOException("closed");
        }

        _asked.Write(buffer);
        while (TryAnswer())
        {
        }
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        _closed.Cancel();
        base.Dispose(disposing);
    }

    private bool TryAnswer()
    {
        switch (_state)
        {
            case 1 when Take(4) is not null:
                _state = 2;
                return true;
            case 2 when Peek(16) is { } header && Take(16 + BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(12))) is { } option:
                Option(BinaryPrimitives.ReadUInt32BigEndian(option.AsSpan(8)));
                return true;
            case 3 when Take(28) is { } request:
                Request(request);
                return true;
            default:
                return false;
        }
    }

    private void Option(uint option)
    {
        switch (option)
        {
            case 8:
                OptionReply(option, 1, []);
                break;
            case 10:
                OptionReply(option, 4, [0, 0, 0, 9, .. "base:allocation"u8]);
                OptionReply(option, 1, []);
                break;
            case 7:
                byte[] size = new byte[8];
                BinaryPrimitives.WriteInt64BigEndian(size, content.Length);
                OptionReply(option, 3, [0, 0, .. size, 1, 0x83]);
                OptionReply(option, 3, [0, 3, 0, 0, 2, 0, 0, 0, 16, 0, 2, 0, 0, 0]);
                OptionReply(option, 1, []);
                _state = 3;
                break;
            default:
                OptionReply(option, 0x8000_0001, Encoding.UTF8.GetBytes("not here"));
                break;
        }
    }

    private void Request(byte[] request)
    {
        int offset = (int)BinaryPrimitives.ReadInt64BigEndian(request.AsSpan(16));
        int length = BinaryPrimitives.ReadInt32BigEndian(request.AsSpan(24));
        byte[] cookie = request[8..16];
        if (offset < 0 || length <= 0 || offset > content.Length - length)
        {
            // A client that believed a damaged size.
            _closed.Cancel();
            return;
        }

        if (request[7] == 7)
        {
            int half = Math.Max(1, length / 2);
            Chunk(1, 5, cookie, [0, 0, 0, 9, .. U32(half), 0, 0, 0, 0, .. U32(length - half), 0, 0, 0, 3]);
        }
        else if (request[7] == 0 && length > 1024)
        {
            // In pieces, the last one first, and a hole where there are zeros.
            int middle = length / 2;
            Chunk(0, 1, cookie, [0, 0, 0, 0, .. U32(offset + middle), .. content.AsSpan(offset + middle, length - middle)]);
            if (content.AsSpan(offset, middle).ContainsAnyExcept((byte)0))
            {
                Chunk(0, 1, cookie, [0, 0, 0, 0, .. U32(offset), .. content.AsSpan(offset, middle)]);
            }
            else
            {
                Chunk(0, 2, cookie, [0, 0, 0, 0, .. U32(offset), .. U32(middle)]);
            }

            Chunk(1, 0, cookie, []);
        }
        else if (request[7] == 0)
        {
            Chunk(1, 1, cookie, [0, 0, 0, 0, .. U32(offset), .. content.AsSpan(offset, length)]);
        }
    }

    private void OptionReply(uint option, uint type, byte[] data) => Answer([0, 3, 0xE8, 0x89, 4, 0x55, 0x65, 0xA9, .. U32((int)option), .. U32(unchecked((int)type)), .. U32(data.Length), .. data]);

    private void Chunk(byte flags, byte type, byte[] cookie, byte[] data) => Answer([0x66, 0x8E, 0x33, 0xEF, 0, flags, 0, type, .. cookie, .. U32(data.Length), .. data]);

    private void Answer(byte[] bytes)
    {
        long at = _sent;
        _sent += bytes.Length;
        if (damage(at, bytes) is { } sent)
        {
            _answers.Add(sent);
        }
    }

    private byte[]? Peek(int bytes) => _asked.Length >= bytes ? _asked.GetBuffer()[..bytes] : null;

    private byte[]? Take(int bytes)
    {
        if (bytes < 0 || _asked.Length < bytes)
        {
            return null;
        }

        byte[] all = _asked.ToArray();
        _asked.SetLength(0);
        _asked.Write(all.AsSpan(bytes));
        return all[..bytes];
    }

    private static byte[] U32(int value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, value);
        return bytes;
    }
}
