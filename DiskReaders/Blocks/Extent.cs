namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What a format says about a range of its bytes.</summary>
public enum ExtentKind
{
    /// <summary>Stored verbatim at a location of a source.</summary>
    Data,

    /// <summary>Reads as zeros whatever the parent holds.</summary>
    Zero,

    /// <summary>Not stored here: the parent's bytes, or zeros where there is none.</summary>
    Hole,

    /// <summary>Stored in a unit that must be unpacked as a whole (compressed or encrypted).</summary>
    Packed,
}

/// <summary>A range of equal kind.</summary>
/// <param name="Kind">What the range is.</param>
/// <param name="Length">Bytes from the offset asked for, at least 1 and at most the count asked for.</param>
/// <param name="Location">Data: byte offset in the source. Packed: the format's own key of the unit (usually where its bytes lie).</param>
/// <param name="Source">Data: index into the sources the map was given.</param>
public readonly record struct Extent(ExtentKind Kind, long Length, long Location = 0, int Source = 0);

/// <summary>Where bytes of a source lie in the end: in which file of the image chain and at which byte of it.</summary>
/// <param name="Kind"><see cref="ExtentKind.Zero"/> and <see cref="ExtentKind.Hole"/> both mean that zeros are read and nothing is stored.</param>
/// <param name="Length">Bytes from the offset asked for, at least 1 and at most the count asked for.</param>
/// <param name="File">The <see cref="FileSource.FileId"/> of the file.</param>
/// <param name="Position">Byte offset in that file, for <see cref="ExtentKind.Packed"/> of the packed unit.</param>
public readonly record struct StoredExtent(ExtentKind Kind, long Length, int File = 0, long Position = 0)
{
    public bool IsStored => Kind is ExtentKind.Data or ExtentKind.Packed;
}
