using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>One extent of a disk, in place.</summary>
/// <param name="Start">First byte in the disk.</param>
/// <param name="Length">Bytes of the disk.</param>
/// <param name="Grains">The map of a sparse extent.</param>
/// <param name="FlatAt">Where a flat extent's data begins in its file; -1 for extents that are not flat.</param>
/// <param name="FileLength">The file's length.</param>
internal sealed record VmdkPart(long Start, long Length, GrainMap? Grains, long FlatAt, long FileLength)
{
    public long End => Start + Length;
}

/// <summary>The map of a disk: its extents in the order of the descriptor, one after the other. Extent n reads from source n.</summary>
internal sealed class VmdkMap : IExtentMap
{
    private readonly VmdkPart[] _parts;
    private readonly long[] _ends;
    private int _last;

    public VmdkMap(VmdkPart[] parts)
    {
        _parts = parts;
        _ends = [.. parts.Select(p => p.End)];
        Length = _ends[^1];
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        // Reads are mostly sequential; a stale number from another thread costs one search.
        int index = _last;
        VmdkPart part = _parts[index];
        if (offset < part.Start || offset >= part.End)
        {
            index = Array.BinarySearch(_ends, offset + 1);
            index = index < 0 ? ~index : index;
            part = _parts[index];
            _last = index;
        }

        long within = offset - part.Start;
        count = Math.Min(count, part.End - offset);
        if (part.Grains is not null)
        {
            Extent extent = part.Grains.Map(within, count);
            return extent.Kind switch
            {
                ExtentKind.Data => extent with { Source = index },

                // Read through the extent's own unpacker, which counts from its first byte.
                ExtentKind.Packed => new Extent(ExtentKind.Data, extent.Length, within, index),
                _ => extent,
            };
        }

        if (part.FlatAt < 0)
        {
            return new Extent(ExtentKind.Zero, count);
        }

        long at = part.FlatAt + within;
        return at < part.FileLength
            ? new Extent(ExtentKind.Data, Math.Min(count, part.FileLength - at), at, index)
            : throw new DiskFormatException(Fault.Truncated, "flat extent", at, $"extent {index} ends at {part.FileLength} in its file");
    }
}
