using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;

namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>Goes through a stream of unknown length from front to back. Big-endian.</summary>
internal sealed class StreamCursor : IDisposable
{
    public const string Structure = "QEMU migration stream";

    private const int BufferBytes = 256 << 10;

    private readonly IBlockSource _source;
    private readonly RentedBuffer _buffer;
    private long _bufferAt;
    private int _used;
    private int _filled;

    /// <param name="source">An <see cref="UnpackedStream"/> that is not sealed, or bytes as they are stored.</param>
    public StreamCursor(IBlockSource source, long start, ScanBudget budget)
    {
        _source = source;
        _bufferAt = start;
        _buffer = budget.Rent(BufferBytes);
    }

    public long Position => _bufferAt + _used;

    public byte U8() => Take(1)[0];

    /// <summary>The next byte, which stays the next.</summary>
    public byte Peek()
    {
        byte next = U8();
        _used--;
        return next;
    }

    public ushort U16() => BinaryPrimitives.ReadUInt16BigEndian(Take(2));

    public uint U32() => BinaryPrimitives.ReadUInt32BigEndian(Take(4));

    public ulong U64() => BinaryPrimitives.ReadUInt64BigEndian(Take(8));

    /// <summary>The next bytes, valid until the next call.</summary>
    /// <param name="count">At most a page and some.</param>
    public ReadOnlySpan<byte> Take(int count)
    {
        if (_filled - _used < count)
        {
            Fill(count);
        }

        _used += count;
        return _buffer.Span.Slice(_used - count, count);
    }

    public void Skip(long count)
    {
        while (count > 0)
        {
            int part = (int)Math.Min(count, BufferBytes / 2);
            Take(part);
            count -= part;
        }
    }

    public DiskFormatException Corrupt(string detail) => new(Fault.Corrupt, Structure, Position, detail);

    public DiskFormatException Unsupported(string detail) => new(Fault.Unsupported, Structure, Position, detail);

    public void Dispose() => _buffer.Dispose();

    private void Fill(int count)
    {
        Span<byte> buffer = _buffer.Span;
        buffer[_used.._filled].CopyTo(buffer);
        _bufferAt += _used;
        _filled -= _used;
        _used = 0;
        while (_filled < count)
        {
            long at = _bufferAt + _filled;
            int got;
            if (_source is UnpackedStream packed)
            {
                got = packed.ReadSome(at, buffer[_filled..]);
            }
            else
            {
                got = (int)Math.Clamp(_source.Length - at, 0, buffer.Length - _filled);
                _source.Read(at, buffer.Slice(_filled, got));
            }

            if (got == 0)
            {
                throw new DiskFormatException(Fault.Truncated, Structure, at, "the stream ends early");
            }

            _filled += got;
        }
    }
}
