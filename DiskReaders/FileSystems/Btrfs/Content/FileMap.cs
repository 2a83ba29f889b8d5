using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Content;

/// <summary>
/// The extents of one file by file offset. Few are kept whole; of more, a window that is read from the tree as the file is. What no extent
/// covers is a hole. Safe for many threads.
/// </summary>
internal sealed class FileMap : IExtentMap, IDisposable
{
    public const int FromData = 0;
    public const int FromInline = 1;
    public const int FromPacked = 2;

    private const string Structure = "btrfs_file_extent_item";
    private const int MostInWindow = 4096;

    private readonly BtrfsVolume _volume;
    private readonly BtrfsFile _file;
    private readonly Lock _lock = new();
    private volatile Window _window;
    private RentedBuffer? _inline;

    public FileMap(BtrfsVolume volume, BtrfsFile file)
    {
        _volume = volume;
        _file = file;
        try
        {
            FileExtent[]? whole = file.Extents ?? file.Subvolume!.Changes?.ExtentsOf(file.Id);
            _window = whole is null ? Load(0) : new Window(0, long.MaxValue, whole);
            if (_inline is null && _window.Extents is [{ Kind: FileExtentKind.Inline } inline, ..])
            {
                _inline = Unpack(inline, file.Subvolume!.Changes!.InlineOf(file.Id), (long)file.Id);
            }
        }
        catch
        {
            _inline?.Dispose();
            throw;
        }
    }

    public long Length => _file.SizeBytes;

    /// <summary>Inline data, unpacked.</summary>
    public ReadOnlyMemory<byte> Inline => _inline is null ? ReadOnlyMemory<byte>.Empty : _inline.Memory;

    public Extent Map(long offset, long count)
    {
        Window window = WindowAt(offset);
        int at = window.Floor(offset);
        long next = at + 1 < window.Extents.Length ? window.Extents[at + 1].FileOffset : window.End;
        if (at < 0 || offset >= window.Extents[at].End)
        {
            return new Extent(ExtentKind.Hole, Math.Min(count, next - offset));
        }

        FileExtent extent = window.Extents[at];
        long length = Math.Min(count, extent.End - offset);
        long within = extent.Skip + (offset - extent.FileOffset);
        return extent.Kind switch
        {
            FileExtentKind.Data => new Extent(ExtentKind.Data, length, extent.Logical + within, FromData),
            FileExtentKind.Inline => new Extent(ExtentKind.Data, length, within, FromInline),
            FileExtentKind.Packed => new Extent(ExtentKind.Data, length, PackedSource.AddressOf(extent, _volume.Super.SectorBytes) + within, FromPacked),
            FileExtentKind.Prealloc => new Extent(ExtentKind.Zero, length),
            _ => new Extent(ExtentKind.Hole, length),
        };
    }

    /// <summary>The extent that covers a file offset.</summary>
    public FileExtent ExtentAt(long offset)
    {
        Window window = WindowAt(offset);
        int at = window.Floor(offset);
        return at >= 0 && offset < window.Extents[at].End
            ? window.Extents[at]
            : throw new InvalidOperationException("an extent that was mapped is gone");
    }

    public void Dispose()
    {
        _inline?.Dispose();
        _inline = null;
    }

    private Window WindowAt(long offset)
    {
        Window window = _window;
        if (offset >= window.Start && offset < window.End)
        {
            return window;
        }

        lock (_lock)
        {
            return _window = Load(offset);
        }
    }

    private TreeCursor OpenTree() => _volume.Open(_file.Subvolume!.Root);

    private Window Load(long offset)
    {
        using TreeCursor cursor = OpenTree();
        List<FileExtent> extents = [];
        if (!cursor.Seek(new BtrfsKey(_file.Id, ItemType.ExtentData, (ulong)offset), out int index))
        {
            return new Window(0, long.MaxValue, []);
        }

        long start = offset;
        index = Math.Max(0, index);
        do
        {
            Node leaf = cursor.Leaf;
            for (; index < leaf.Count; index++)
            {
                BtrfsKey key = leaf.Key(index);
                if (key.Id < _file.Id || (key.Id == _file.Id && key.Type < ItemType.ExtentData))
                {
                    continue;
                }

                if (key.Id != _file.Id || key.Type != ItemType.ExtentData)
                {
                    return new Window(start, long.MaxValue, [.. extents]);
                }

                FileExtent extent = FileExtent.Read(new LeView(leaf.Data(index), Structure, (long)leaf.Logical + leaf.DataAt(index)), key.Offset, _volume.Super.SectorBytes);
                RequireAfter(extents, extent);
                start = extents.Count == 0 ? Math.Min(start, extent.FileOffset) : start;
                extents.Add(extent);
                if (extent.Kind == FileExtentKind.Inline)
                {
                    // Inline data lies in the item itself.
                    _inline ??= Unpack(extent, leaf.Data(index), (long)leaf.Logical + leaf.DataAt(index));
                }

                if (extents.Count >= MostInWindow)
                {
                    return new Window(start, extent.End, [.. extents]);
                }
            }

            index = 0;
        }
        while (cursor.NextLeaf());

        return new Window(start, long.MaxValue, [.. extents]);
    }

    /// <exception cref="DiskFormatException">The extent begins before the last one ends.</exception>
    public static void RequireAfter(List<FileExtent> extents, FileExtent extent)
    {
        if (extents.Count > 0 && extent.FileOffset < extents[^1].End)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, -1, $"extents overlap at {extent.FileOffset}");
        }
    }

    private RentedBuffer Unpack(FileExtent extent, ReadOnlySpan<byte> item, long location)
    {
        ReadOnlySpan<byte> stored = item[FileExtent.InlineHeaderBytes..];
        RentedBuffer unpacked = _volume.Context.Budget.Rent(extent.RamBytes);
        try
        {
            if (extent.Packing == Packing.Packing.None)
            {
                stored[..extent.RamBytes].CopyTo(unpacked.Span);
            }
            else
            {
                using RentedBuffer packed = _volume.Context.Budget.Rent(stored.Length);
                stored.CopyTo(packed.Span);
                _volume.Unpackers.Unpack(extent.Packing, packed.Memory, unpacked.Span, _volume.Super.SectorBytes, location);
            }

            return unpacked;
        }
        catch
        {
            unpacked.Dispose();
            throw;
        }
    }

    // Answers for offsets from start to end.
    private sealed record Window(long Start, long End, FileExtent[] Extents)
    {
        public int Floor(long offset)
        {
            int low = 0, high = Extents.Length;
            while (low < high)
            {
                int middle = (low + high) / 2;
                if (Extents[middle].FileOffset <= offset)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            return low - 1;
        }
    }
}
