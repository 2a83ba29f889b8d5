namespace Vmsweep.DiskReaders.Blocks;

/// <summary>
/// A source that knows which layer of its chain of images each byte shows through from. What a layer does not hold is the layer's below, at the same offset
/// and byte for byte, so that it is the same in every disk that was made over that layer.
/// </summary>
public interface ILayered
{
    /// <summary>The deepest layer whose content, as a disk of its own, the bytes at <paramref name="offset"/> are; for 1 to <paramref name="count"/> of them.</summary>
    LayerRange LayerOf(long offset, long count);

    /// <summary>Reads what a layer below has at the same offset, whether it shows through or not; false where there is no such layer, or it ends before.</summary>
    bool ReadLayer(int depth, long offset, Span<byte> destination);
}

/// <param name="Depth">How many layers are above it; 0 is the disk's own top image, and where nothing can be told.</param>
/// <param name="File">The number of its top file in the chain's plan.</param>
public readonly record struct LayerRange(int Depth, int File, long Length);

/// <summary>A parent's content as the images over it see it. Owns what it is given.</summary>
/// <param name="content">Through all layers below.</param>
/// <param name="depth">How many layers are above.</param>
/// <param name="file">The number of its top file.</param>
public sealed class LayerSource(IBlockSource content, int depth, int file) : IBlockSource, IFileBacked, ILayered
{
    private readonly int _depth = depth;

    public long Length => content.Length;

    public void Read(long offset, Span<byte> destination) => content.Read(offset, destination);

    public StoredExtent Locate(long offset, long count) => content.Locate(offset, count);

    public FileRange? InFile(long offset, long count) => (content as IFileBacked)?.InFile(offset, count);

    public LayerRange LayerOf(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "layer");
        LayerRange below = (content as ILayered)?.LayerOf(offset, count) ?? new LayerRange(0, 0, count);
        return below.Depth > _depth ? below : new LayerRange(_depth, file, below.Length);
    }

    public bool ReadLayer(int depth, long offset, Span<byte> destination)
    {
        if (depth != _depth)
        {
            return content is ILayered layers && layers.ReadLayer(depth, offset, destination);
        }

        if (destination.Length > Length - offset)
        {
            return false;
        }

        content.Read(offset, destination);
        return true;
    }

    public void Dispose() => content.Dispose();
}
