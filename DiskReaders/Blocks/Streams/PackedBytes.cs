using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>Reads a source from front to back through a buffer, byte by byte or bit by bit (the most significant first).</summary>
internal sealed class PackedBytes(IBlockSource source, ScanBudget budget, string structure) : IDisposable
{
    private const int BufferBytes = 128 << 10;

    private readonly RentedBuffer _buffer = budget.Rent(BufferBytes);
    private long _bufferAt;
    private int _used;
    private int _filled;
    private ulong _bits;
    private int _bitCount;

    /// <summary>Byte offset of what is read next; bits that wait are not counted.</summary>
    public long Position => _bufferAt + _used;

    /// <summary>The same in bits, with those that wait.</summary>
    public long BitPosition => (Position * 8) - _bitCount;

    public bool IsAtEnd => Position >= source.Length && _bitCount == 0;

    public void GoTo(long position)
    {
        _bufferAt = position;
        _used = _filled = 0;
        _bits = 0;
        _bitCount = 0;
    }

    public void GoToBit(long position)
    {
        GoTo(position / 8);
        int within = (int)(position % 8);
        if (within > 0)
        {
            Bits(within);
        }
    }

    public byte U8()
    {
        if (_used == _filled)
        {
            Fill();
        }

        return _buffer.Span[_used++];
    }

    public ushort U16Be()
    {
        Span<byte> bytes = stackalloc byte[2];
        Fill(bytes);
        return BinaryPrimitives.ReadUInt16BigEndian(bytes);
    }

    public uint U32Be()
    {
        Span<byte> bytes = stackalloc byte[4];
        Fill(bytes);
        return BinaryPrimitives.ReadUInt32BigEndian(bytes);
    }

    public void Fill(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            if (_used == _filled)
            {
                Fill();
            }

            int count = Math.Min(destination.Length, _filled - _used);
            _buffer.Span.Slice(_used, count).CopyTo(destination);
            _used += count;
            destination = destination[count..];
        }
    }

    public void Skip(long bytes)
    {
        if (bytes <= _filled - _used)
        {
            _used += (int)bytes;
            return;
        }

        long to = Position + bytes;
        GoTo(to <= source.Length ? to : throw CutOff());
    }

    /// <param name="count">1 to 32.</param>
    public uint Bits(int count)
    {
        while (_bitCount < count)
        {
            _bits = unchecked((_bits << 8) | U8());
            _bitCount += 8;
        }

        _bitCount -= count;
        return (uint)((_bits >> _bitCount) & ((1UL << count) - 1));
    }

    /// <summary>Drops the bits up to the next byte.</summary>
    public void Align()
    {
        // Whole bytes that wait go back: the buffer still has them, for bits are fetched a byte at a time.
        _bitCount -= _bitCount % 8;
        while (_bitCount > 0)
        {
            _bitCount -= 8;
            _used--;
        }

        _bits = 0;
    }

    public DiskFormatException Corrupt(string detail) => new(Fault.Corrupt, structure, Position, detail);

    public DiskFormatException CutOff() => new(Fault.Truncated, structure, source.Length, "it is cut off");

    public void Dispose() => _buffer.Dispose();

    private void Fill()
    {
        _bufferAt += _filled;
        _used = 0;
        _filled = 0;
        int count = (int)Math.Min(BufferBytes, source.Length - _bufferAt);
        if (count <= 0)
        {
            throw CutOff();
        }

        source.Read(_bufferAt, _buffer.Span[..count]);
        _filled = count;
    }
}
