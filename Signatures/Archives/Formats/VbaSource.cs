using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Unpacks the source of a VBA module. Spec: [MS-OVBA] 2.4.1. Chunks of 4096 bytes; a match reaches back within its chunk.</summary>
internal sealed class VbaSource : UnpackStream
{
    private const int ChunkBytes = 4096;

    private readonly ReadOnlyMemory<byte> _input;
    private int _at = 1;

    public VbaSource(ReadOnlyMemory<byte> input)
    {
        _input = input;
        Buffer = new byte[ChunkBytes];
    }

    /// <summary>Where the packed source begins in a module's stream: every module's begins with its attributes. -1 where there is none.</summary>
    public static int Find(ReadOnlySpan<byte> module)
    {
        // A token byte of zeros, then "Attribut" as literals; before it the chunk's header and the signature.
        int at = module.IndexOf("\0Attribut"u8);
        return at >= 3 && module[at - 3] == 1 && (module[at - 1] & 0xF0) is 0xB0 or 0x30 ? at - 3 : -1;
    }

    protected override bool Fill()
    {
        Start = End = 0;
        ReadOnlySpan<byte> input = _input.Span;
        if (_at + 2 > input.Length)
        {
            return false;
        }

        int header = BinaryPrimitives.ReadUInt16LittleEndian(input[_at..]);
        if (((header >> 12) & 7) != 3)
        {
            // What follows the last chunk is not part of it.
            return false;
        }

        int end = _at + (header & 0xFFF) + 3;
        if (end > input.Length)
        {
            throw ArchiveException.Truncated("vba source", _at);
        }

        _at += 2;
        if ((header & 0x8000) == 0)
        {
            int count = Math.Min(ChunkBytes, end - _at);
            input.Slice(_at, count).CopyTo(Buffer);
            End = count;
            _at = end;
            return true;
        }

        while (_at < end)
        {
            int flags = input[_at++];
            for (int bit = 0; bit < 8 && _at < end; bit++)
            {
                if ((flags >> bit & 1) == 0)
                {
                    if (End == ChunkBytes)
                    {
                        throw ArchiveException.Corrupt("vba source", _at, "a chunk of more than 4096 bytes");
                    }

                    Buffer[End++] = input[_at++];
                    continue;
                }

                if (_at + 2 > end)
                {
                    throw ArchiveException.Truncated("vba source", _at);
                }

                int token = BinaryPrimitives.ReadUInt16LittleEndian(input[_at..]);
                _at += 2;
                int bits = Math.Max(4, BitOperations.Log2((uint)Math.Max(1, End - 1)) + 1);
                int length = (token & (0xFFFF >> bits)) + 3;
                int distance = (token >> (16 - bits)) + 1;
                if (distance > End || length > ChunkBytes - End)
                {
                    throw ArchiveException.Corrupt("vba source", _at, "a match outside of its chunk");
                }

                Lz.Copy(Buffer, End, distance, length);
                End += length;
            }
        }

        return true;
    }
}
