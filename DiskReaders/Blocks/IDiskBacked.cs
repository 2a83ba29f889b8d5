namespace Vmsweep.DiskReaders.Blocks;

/// <summary>
/// A source whose bytes stand somewhere on a guest's disk exactly as they are read, so that what was not written there has not changed here. Whatever is
/// unpacked, decrypted, mended from a second copy or put together from metadata has no such place.
/// </summary>
public interface IDiskBacked
{
    /// <summary>Where the bytes at <paramref name="offset"/> stand, for 1 to <paramref name="count"/> of them; null where that cannot be told.</summary>
    DiskRange? OnDisk(long offset, long count);
}

/// <param name="Disk">The number of the disk, as <see cref="DiskSource"/> was given it; <see cref="Nowhere"/> for zeros that the format itself means.</param>
public readonly record struct DiskRange(int Disk, long Offset, long Length)
{
    /// <summary>All of the range shows through from it; the disk's own top image where layers were not asked for.</summary>
    public LayerRange Layer { get; init; }

    public const int Nowhere = -1;
}

/// <summary>The disk that the guest sees, at the bottom of all that is read from it. Owns what it is given.</summary>
/// <param name="tellsLayers">Ranges are of one layer each, and say which.</param>
public sealed class DiskSource(IBlockSource content, int disk, bool tellsLayers = false) : IBlockSource, IFileBacked, IDiskBacked
{
    public long Length => content.Length;

    public void Read(long offset, Span<byte> destination) => content.Read(offset, destination);

    public StoredExtent Locate(long offset, long count) => content.Locate(offset, count);

    public FileRange? InFile(long offset, long count) => (content as IFileBacked)?.InFile(offset, count);

    public DiskRange? OnDisk(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "disk");
        return tellsLayers && content is ILayered layered && layered.LayerOf(offset, count) is var layer
            ? new DiskRange(disk, offset, layer.Length) { Layer = layer }
            : new DiskRange(disk, offset, count);
    }

    public void Dispose() => content.Dispose();
}
