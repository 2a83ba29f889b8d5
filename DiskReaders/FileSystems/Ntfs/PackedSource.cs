using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>A map with packed units that knows where the bytes of each lie.</summary>
internal interface IPackedMap : IExtentMap, IUnpacker
{
    /// <summary>As <see cref="PackedSource.Locate(IBlockSource, long, long, StoredExtent?)"/> for all bytes of a unit.</summary>
    StoredExtent LocateUnit(long unitOffset);
}

/// <summary>
/// A source of packed units that also tells in which file of the chain they lie: content is taken for a base's only if every
/// byte it is unpacked from is. Owns what it is given.
/// </summary>
internal sealed class PackedSource(MappedSource mapped, IPackedMap map, params IDisposable[] owned) : IBlockSource
{
    /// <summary>The file of bytes that lie in more than one.</summary>
    private const int ManyFiles = -1;

    public long Length => map.Length;

    /// <summary>Where the stored bytes of a range begin, and in which file; many files are none.</summary>
    public static StoredExtent Locate(IBlockSource source, long offset, long count, StoredExtent? before)
    {
        StoredExtent? place = before;
        while (count > 0)
        {
            StoredExtent part = source.Locate(offset, count);
            offset += part.Length;
            count -= part.Length;
            if (part.IsStored)
            {
                place = place is { } known ? known with { File = known.File == part.File ? known.File : ManyFiles } : part;
            }
        }

        return place ?? new StoredExtent(ExtentKind.Packed, 1, ManyFiles);
    }

    public void Read(long offset, Span<byte> destination) => mapped.Read(offset, destination);

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "packed range");
        Extent extent = map.Map(offset, count);
        if (extent.Kind != ExtentKind.Packed)
        {
            return mapped.Locate(offset, count);
        }

        long within = offset % map.UnitBytes;
        return map.LocateUnit(offset - within) with { Kind = ExtentKind.Packed, Length = Math.Min(count, map.UnitBytes - within) };
    }

    public void Dispose()
    {
        mapped.Dispose();
        foreach (IDisposable one in owned)
        {
            one.Dispose();
        }
    }
}
