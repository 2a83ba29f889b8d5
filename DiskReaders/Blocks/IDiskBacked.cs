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
    /// <summary>Its number.</summary>
    public int Disk => disk;

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

    /// <summary>True when a layer below has the same bytes there: an image copies more of it than is written.</summary>
    /// <param name="depth">How many layers are above it.</param>
    public bool IsSameBelow(int depth, long offset, long count)
    {
        if (content is not ILayered layers)
        {
            return false;
        }

        byte[] here = new byte[(int)Math.Min(count, 64 << 10)];
        byte[] below = new byte[here.Length];
        for (int part; count > 0; offset += part, count -= part)
        {
            part = (int)Math.Min(count, here.Length);
            if (!layers.ReadLayer(depth, offset, below.AsSpan(0, part)))
            {
                return false;
            }

            content.Read(offset, here.AsSpan(0, part));
            if (!here.AsSpan(0, part).SequenceEqual(below.AsSpan(0, part)))
            {
                return false;
            }
        }

        return true;
    }

    public void Dispose() => content.Dispose();
}
