using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>A piece of a file.</summary>
/// <param name="Start">Where it begins in the file.</param>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="Location">Where it lies in the source; <see cref="Zeros"/> where nothing is stored.</param>
internal readonly record struct FilePiece(long Start, long Length, long Location)
{
    public const long Zeros = -1;
}

/// <summary>A file whose pieces are all known, in file order and without a gap between them.</summary>
/// <param name="extents">The pieces.</param>
/// <param name="length">The file's length; no more than the pieces have.</param>
/// <param name="sourceBytes">Where the source ends.</param>
/// <param name="structure">Names the file in faults.</param>
internal sealed class FilePieceMap(FilePiece[] extents, long length, long sourceBytes, string structure) : IExtentMap
{
    public long Length => length;

    public Extent Map(long offset, long count)
    {
        int low = 0;
        int high = extents.Length - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = extents[middle].Start <= offset ? (middle, high) : (low, middle - 1);
        }

        FilePiece extent = extents[low];
        count = Math.Min(count, extent.Start + extent.Length - offset);
        if (extent.Location == FilePiece.Zeros)
        {
            return new Extent(ExtentKind.Zero, count);
        }

        long location = extent.Location + (offset - extent.Start);
        return location < sourceBytes
            ? new Extent(ExtentKind.Data, Math.Min(count, sourceBytes - location), location)
            : throw new DiskFormatException(Fault.Truncated, structure, location, $"the extent lies beyond the end at {sourceBytes}");
    }
}
