namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Read-only bytes of a known length: a file, a disk, a volume, a guest file. No position; safe for many threads.</summary>
public interface IBlockSource : IDisposable
{
    /// <summary>Length in bytes.</summary>
    long Length { get; }

    /// <summary>Fills <paramref name="destination"/> with the bytes at <paramref name="offset"/>, or throws.</summary>
    /// <exception cref="DiskFormatException">The range lies outside the source, or the format below is faulty.</exception>
    /// <exception cref="IOException">The storage failed to deliver.</exception>
    void Read(long offset, Span<byte> destination);

    /// <summary>Tells where the bytes at <paramref name="offset"/> are stored, for a range of 1 to <paramref name="count"/> bytes.</summary>
    /// <param name="offset">0 to <see cref="Length"/> - 1.</param>
    /// <param name="count">At least 1; never beyond the end.</param>
    StoredExtent Locate(long offset, long count);
}

/// <summary>A format's own map from its offsets to where the bytes are. Stateless for the caller; safe for many threads.</summary>
public interface IExtentMap
{
    /// <summary>Length in bytes of what is mapped.</summary>
    long Length { get; }

    /// <summary>Maps a range that begins at <paramref name="offset"/>; answers for 1 to <paramref name="count"/> bytes of it.</summary>
    Extent Map(long offset, long count);
}

/// <summary>Unpacks the units of a map's <see cref="ExtentKind.Packed"/> extents. Units are aligned to their size.</summary>
public interface IUnpacker
{
    /// <summary>Unpacked bytes of each unit but the last, which may be shorter.</summary>
    int UnitBytes { get; }

    /// <summary>Fills <paramref name="unit"/>, the whole unit, or throws.</summary>
    /// <param name="unitOffset">Offset of the unit's first byte in the mapped bytes.</param>
    /// <param name="location">The extent's <see cref="Extent.Location"/>.</param>
    /// <param name="unit">Exactly the unit's unpacked bytes. Fewer or more in the packed data is a fault.</param>
    void Unpack(long unitOffset, long location, Span<byte> unit);
}
