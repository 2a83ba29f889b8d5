using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// The checksum of version 5 metadata. Specification: "XFS Algorithms &amp; Data Structures", "Metadata Integrity": CRC-32C of the structure with
/// the field itself as zeros, stored little-endian whatever the rest is.
/// </summary>
internal static class XfsChecksum
{
    public static bool Good(ReadOnlySpan<byte> bytes, int at) => Of(bytes, at) == BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    public static uint Of(ReadOnlySpan<byte> bytes, int at)
    {
        ReadOnlySpan<byte> zeros = [0, 0, 0, 0];
        uint state = Crc32C.Update(uint.MaxValue, bytes[..at]);
        return ~Crc32C.Update(Crc32C.Update(state, zeros), bytes[(at + 4)..]);
    }
}
