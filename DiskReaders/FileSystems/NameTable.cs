using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>
/// All names of a file system, found by inode: each entry is the next name of the same inode, the folder that holds it, and its bytes. Some
/// thirty bytes for each file, in rented memory, so that what a hostile image can take is bounded by the budget. Only inodes in use may be
/// added, so that there are no more heads than inodes.
/// </summary>
internal sealed class NameTable(ScanBudget budget) : IDisposable
{
    private const int ChunkShift = 20;
    private const int ChunkBytes = 1 << ChunkShift;
    private const int Unit = 4;                    // entries are aligned to it, so that 32 bits address 16 GiB
    private const int HeaderBytes = 9;
    private const int PageShift = 6;               // heads are kept for 64 inodes at once
    private const uint PageMask = (1u << PageShift) - 1;
    private const int PageBytes = Unit << PageShift;
    private const int PagesPerSlab = 256;

    private readonly List<RentedBuffer> _chunks = [];
    private readonly List<RentedBuffer> _slabs = [];
    private readonly Dictionary<ulong, int> _pages = [];
    private int _used = ChunkBytes;
    private ulong _pageNumber = ulong.MaxValue;
    private int _page;

    /// <summary>Adds a name. The first added is the last of the inode's chain.</summary>
    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: no more memory.</exception>
    public void Add(ulong inode, uint folder, ReadOnlySpan<byte> name)
    {
        int bytes = (HeaderBytes + name.Length + Unit - 1) & ~(Unit - 1);
        Span<byte> head = HeadOf(inode, create: true);
        if (_used + bytes > ChunkBytes)
        {
            _chunks.Add(budget.Rent(ChunkBytes));
            // Entry 0 means none.
            _used = _chunks.Count == 1 ? Unit : 0;
        }

        Span<byte> entry = _chunks[^1].Span.Slice(_used, bytes);
        head.CopyTo(entry);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], folder);
        entry[8] = (byte)name.Length;
        name.CopyTo(entry[HeaderBytes..]);
        BinaryPrimitives.WriteUInt32LittleEndian(head, (uint)((((long)(_chunks.Count - 1) << ChunkShift) + _used) / Unit));
        _used += bytes;
    }

    /// <summary>The last added name of an inode; 0 when it has none.</summary>
    public uint First(ulong inode)
    {
        Span<byte> head = HeadOf(inode, create: false);
        return head.IsEmpty ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(head);
    }

    /// <summary>Gives an entry and returns the next of the same inode; 0 after the last.</summary>
    public uint Read(uint entry, out uint folder, out ReadOnlySpan<byte> name)
    {
        long at = (long)entry * Unit;
        ReadOnlySpan<byte> bytes = _chunks[(int)(at >> ChunkShift)].Span[(int)(at & (ChunkBytes - 1))..];
        folder = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        name = bytes.Slice(HeaderBytes, bytes[8]);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public void Dispose()
    {
        _chunks.ForEach(c => c.Dispose());
        _chunks.Clear();
        _slabs.ForEach(s => s.Dispose());
        _slabs.Clear();
        _pages.Clear();
    }

    private Span<byte> HeadOf(ulong inode, bool create)
    {
        ulong number = inode >> PageShift;
        if (_pageNumber != number)
        {
            if (!_pages.TryGetValue(number, out int page))
            {
                if (!create)
                {
                    return [];
                }

                page = _pages.Count;
                if (page / PagesPerSlab == _slabs.Count)
                {
                    RentedBuffer slab = budget.Rent(PagesPerSlab * PageBytes);
                    slab.Span.Clear();
                    _slabs.Add(slab);
                }

                _pages.Add(number, page);
            }

            _page = page;
            _pageNumber = number;
        }

        return _slabs[_page / PagesPerSlab].Span.Slice((_page % PagesPerSlab * PageBytes) + ((int)(inode & PageMask) * Unit), Unit);
    }
}
