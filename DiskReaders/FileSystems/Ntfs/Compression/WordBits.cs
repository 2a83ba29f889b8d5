using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// Bits of a row of 16-bit little-endian words, highest bit first, as XPRESS Huffman and LZX have them. Bits behind the end read
/// as zero and count as read: who unpacks asks <see cref="IsOverrun"/> at the end, as each unit is bounded anyway.
/// </summary>
internal ref struct WordBits(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private ulong _buffer;
    private int _count;
    private int _next;

    public readonly bool IsOverrun => ((long)_next * 8) - _count > (long)_bytes.Length * 8;

    /// <summary>The next 32 bits or more are at hand after this.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Fill()
    {
        if (_count > 32)
        {
            return;
        }

        uint words = _next <= _bytes.Length - 4 ? BinaryPrimitives.ReadUInt32LittleEndian(_bytes[_next..]) : Tail();
        _buffer |= (ulong)BitOperations.RotateLeft(words, 16) << (32 - _count);
        _count += 32;
        _next += 4;
    }

    /// <summary>The next bits without taking them. <see cref="Fill"/> first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly uint Peek(int count) => (uint)(_buffer >> (64 - count));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Skip(int count)
    {
        _buffer <<= count;
        _count -= count;
    }

    /// <summary>0 to 17 bits. <see cref="Fill"/> first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Take(int count)
    {
        uint bits = (uint)(_buffer >> 1 >> (63 - count));
        Skip(count);
        return bits;
    }

    /// <summary>
    /// A byte that stands between the words: behind those that a reader holds which keeps 16 to 31 bits at hand. [MS-XCA] 2.2.4.
    /// </summary>
    public byte TakeByteBetween()
    {
        GiveBack();
        int at = _next++;
        return at < _bytes.Length ? _bytes[at] : (byte)0;
    }

    /// <summary>Where <see cref="TakeByteBetween"/> would read.</summary>
    public int BytePosition()
    {
        GiveBack();
        return _next;
    }

    /// <summary>Leaves the word begun, a whole one where none is begun, and gives the position of the byte behind.</summary>
    public readonly int AlignedPosition() => (int)(((((long)_next * 8) - _count) / 16) + 1) * 2;

    /// <summary>Goes on at a byte.</summary>
    public void MoveTo(int position)
    {
        _next = position;
        _buffer = 0;
        _count = 0;
    }

    private void GiveBack()
    {
        while (_count >= 32)
        {
            _count -= 16;
            _next -= 2;
        }

        _buffer &= ~(ulong.MaxValue >> _count);
    }

    private readonly uint Tail()
    {
        uint words = 0;
        for (int i = 0; i < 4 && _next + i < _bytes.Length; i++)
        {
            words |= (uint)_bytes[_next + i] << (8 * i);
        }

        return words;
    }
}
