using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>
/// <c>xfs_bmbt_rec</c>: 128 bits, big-endian. Specification: "XFS Algorithms &amp; Data Structures", "Extent List": a flag, 54 bits of file
/// block, 52 bits of file system block, 21 bits of count.
/// </summary>
internal readonly struct BmbtRecord
{
    public const int Size = 16;

    /// <summary>First block of the file.</summary>
    public readonly long FileBlock;

    /// <summary>First block of the file system: group number in the high bits.</summary>
    public readonly ulong FsBlock;

    public readonly int Count;

    /// <summary>Allocated, never written: reads as zeros.</summary>
    public readonly bool Unwritten;

    public BmbtRecord(ReadOnlySpan<byte> bytes)
    {
        ulong high = BinaryPrimitives.ReadUInt64BigEndian(bytes);
        ulong low = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        Unwritten = high >> 63 != 0;
        FileBlock = (long)((high & long.MaxValue) >> 9);
        FsBlock = ((high & 0x1FF) << 43) | (low >> 21);
        Count = (int)(low & 0x1F_FFFF);
    }

    public long End => FileBlock + Count;
}
