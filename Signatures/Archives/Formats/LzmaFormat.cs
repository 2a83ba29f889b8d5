using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.Signatures.Archives.Decoders;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>LZMA by itself (.lzma), which has no magic number: properties, dictionary and size are what encoders write. Spec: LZMA SDK, lzma-file-format.txt.</summary>
internal sealed class LzmaFormat : PackedFormat
{
    private const int HeaderBytes = 13;
    private const byte Properties = 0x5D;

    public override string Name => "lzma";

    public override IReadOnlyList<FileType> Types => [];

    public override bool Fits(ReadOnlySpan<byte> content)
    {
        // The range decoder's first byte is always zero.
        if (content.Length < HeaderBytes + 5 || content[0] != Properties || content[HeaderBytes] != 0)
        {
            return false;
        }

        uint dictionary = BinaryPrimitives.ReadUInt32LittleEndian(content[1..]);
        long size = BinaryPrimitives.ReadInt64LittleEndian(content[5..]);
        return dictionary >= 4096 && BitOperations.PopCount(dictionary) <= 2 && (size is -1 or (> 0 and < 1L << 38));
    }

    protected override Stream Open(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        long size = BinaryPrimitives.ReadInt64LittleEndian(content.Span[5..]);
        return new CheckedStream(new LzmaStream(content[HeaderBytes..], content.Span[..LzmaStream.PropertyBytes], size, sink), "lzma", size, null);
    }
}
