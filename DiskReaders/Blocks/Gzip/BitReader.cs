using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Gzip;

/// <summary>The packed bytes as bits, lowest first: RFC 1951, section 3.1.1.</summary>
internal sealed class BitReader(IBlockSource packed, ScanBudget budget) : IDisposable
{
    private const int BufferBytes = 64 << 10;

    private readonly RentedBuffer _buffer = budget.Rent(BufferBytes);
    private long _bufferAt;
    private int _length;
    private int _next;

    /// <summary>Bits that were read ahead, the next lowest. Beyond the end of the file they are zeros.</summary>
    public ulong Bits { get; private set; }

    public int Count { get; private set; }

    /// <summary>The next bit's place in the file.</summary>
    public long Position => ((_bufferAt + _next) * 8) - Count;

    /// <summary>True when not a whole byte is left.</summary>
    public bool IsAtEnd => Count < 8 && _bufferAt + _next >= packed.Length;

    public void GoTo(long bit)
    {
        _bufferAt = bit / 8;
        _length = 0;
        _next = 0;
        Bits = 0;
        Count = 0;
        int within = (int)(bit % 8);
        if (within > 0)
        {
            Need(within);
            Drop(within);
        }
    }

    /// <summary>Reads ahead: at least 56 bits are there unless the file ends.</summary>
    public void Fill()
    {
        ReadOnlySpan<byte> left = _buffer.Span[_next.._length];
        if (left.Length >= 8)
        {
            // As many whole bytes as fit above those that are there.
            int bytes = (63 - Count) >> 3;
            Bits |= BinaryPrimitives.ReadUInt64LittleEndian(left) << Count;
            _next += bytes;
            Count += bytes * 8;
            Bits &= Count == 64 ? ulong.MaxValue : (1UL << Count) - 1;
            return;
        }

        while (Count <= 56 && TryByte(out byte b))
        {
            Bits |= (ulong)b << Count;
            Count += 8;
        }
    }

    /// <exception cref="DiskFormatException"><see cref="Fault.Truncated"/>: the file has fewer bits.</exception>
    public void Need(int bits)
    {
        if (Count < bits)
        {
            Fill();
            if (Count < bits)
            {
                throw Truncated();
            }
        }
    }

    public void Drop(int bits)
    {
        Bits >>= bits;
        Count -= bits;
    }

    public int Take(int bits)
    {
        Need(bits);
        int value = (int)(Bits & ((1UL << bits) - 1));
        Drop(bits);
        return value;
    }

    public void ToByte() => Drop(Count % 8);

    /// <summary>Whole bytes, the reader standing on one.</summary>
    public void Copy(Span<byte> destination)
    {
        while (!destination.IsEmpty && Count > 0)
        {
            destination[0] = (byte)Take(8);
            destination = destination[1..];
        }

        while (!destination.IsEmpty)
        {
            if (_next == _length)
            {
                Load();
                if (_length == 0)
                {
                    throw Truncated();
                }
            }

            int count = Math.Min(destination.Length, _length - _next);
            _buffer.Span.Slice(_next, count).CopyTo(destination);
            _next += count;
            destination = destination[count..];
        }
    }

    public DiskFormatException Truncated() => new(Fault.Truncated, "gzip", _bufferAt + _next, "the packed data ends too early");

    public void Dispose() => _buffer.Dispose();

    private bool TryByte(out byte b)
    {
        if (_next == _length)
        {
            Load();
        }

        b = _next < _length ? _buffer.Span[_next] : (byte)0;
        return _next < _length && ++_next > 0;
    }

    private void Load()
    {
        _bufferAt += _length;
        _next = 0;
        _length = 0;
        int count = (int)Math.Min(BufferBytes, Math.Max(0, packed.Length - _bufferAt));
        packed.Read(_bufferAt, _buffer.Span[..count]);
        _length = count;
    }
}
