using System.Buffers.Binary;
using SharpCompress.Compressors.PPMd;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>PPMd of versions H (7z) and I (ZIP), by SharpCompress; its memory is what the archive declares, so it is asked for first.</summary>
internal static class Ppmd
{
    public static Stream OpenZip(ReadOnlyMemory<byte> bytes, IMemberSink sink)
    {
        if (bytes.Length < 3)
        {
            throw ArchiveException.Truncated("ppmd", 0);
        }

        int parameters = BinaryPrimitives.ReadUInt16LittleEndian(bytes.Span);
        long memory = (((parameters >> 4) & 0xFF) + 1L) << 20;
        return Open(bytes.Span[..2], bytes[2..], memory, sink);
    }

    /// <param name="properties">Order, then bytes of memory in four bytes.</param>
    /// <param name="bytes">Packed.</param>
    /// <param name="sink">Gives memory.</param>
    public static Stream OpenSevenZip(ReadOnlySpan<byte> properties, ReadOnlyMemory<byte> bytes, IMemberSink sink)
    {
        if (properties.Length < 5 || properties[0] is < 2 or > 64)
        {
            throw ArchiveException.Corrupt("ppmd", -1, "properties out of range");
        }

        uint memory = BinaryPrimitives.ReadUInt32LittleEndian(properties[1..]);
        return memory is >= 1 << 11 and <= 1 << 30 ? Open(properties[..5], bytes, memory, sink) : throw ArchiveException.Unsupported("ppmd", -1, $"{memory} bytes of memory");
    }

    private static ReservedStream Open(ReadOnlySpan<byte> properties, ReadOnlyMemory<byte> bytes, long memory, IMemberSink sink)
    {
        IDisposable reserved = sink.Reserve(memory + (1 << 20), "ppmd");
        return new ReservedStream(reserved, PpmdStream.Create(new PpmdProperties(properties), new SpanStream(bytes), false));
    }
}
