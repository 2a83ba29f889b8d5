using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

/// <summary>
/// Reads the index of a compressed file, an entry for each logical cluster (a block), into extents. Specification: erofs_fs.h and the
/// descriptions that came with compact indexes, big pclusters, tail packing and fragments. The index is read once from front to back, so that
/// the distances which entries keep for random access are not needed.
/// </summary>
internal ref struct ClusterIndex
{
    // "On-disk logical cluster type".
    private const int Plain = 0, Head1 = 1, NonHead = 2, Head2 = 3;
    private const int BlockCount = 1 << 11;      // Z_EROFS_LI_D0_CBLKCNT
    private const int PartialReference = 1 << 15;
    private const int FullEntryBytes = 8;
    private const int WideBytes = 4, NarrowBytes = 2;
    private const int WideCount = 2, NarrowCount = 16;
    private const int PackAlign = NarrowCount * NarrowBytes;
    private const int MostStoredBytes = 1 << 20; // Z_EROFS_PCLUSTER_MAX_SIZE
    private const string Structure = "erofs cluster index";

    private readonly ErofsVolume _volume;
    private readonly MapHeader _header;
    private readonly ExtentTable _table;
    private readonly int _blockBytes;
    private readonly long _clusters;
    private long _number;
    private long _position;
    private bool _mayCount;

    private ClusterIndex(ErofsVolume volume, MapHeader header, ExtentTable table)
    {
        (_volume, _header, _table) = (volume, header, table);
        _blockBytes = volume.Super.BlockBytes;
        _clusters = ((table.Length - 1) >> volume.Super.BlockShift) + 1;
    }

    /// <exception cref="DiskFormatException">The index is damaged.</exception>
    public static ExtentTable Load(ErofsVolume volume, ErofsInode inode, bool isPacked)
    {
        MapHeader header = ReadHeader(volume, inode, out long start);
        if (isPacked && (header.IsFragmentInode || (header.Advise & MapAdvise.FragmentPcluster) != 0))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, start, "the packed inode has fragments");
        }

        var table = new ExtentTable(inode.SizeBytes, volume.Super.BlockBytes, volume.Context.Budget);
        try
        {
            if (header.IsFragmentInode)
            {
                table.Add(new PclusterExtent(0, header.FragmentOffset, 0, PclusterKind.Fragment, default, IsPart: false));
            }
            else
            {
                var index = new ClusterIndex(volume, header, table);
                long end = inode.Layout == ErofsLayout.CompressedFull ? index.ReadFull(start + MapHeader.Size + 8) : index.ReadCompact(start + MapHeader.Size);
                index.Finish(end, inode.Layout);
            }

            table.Seal();
            if (table.HasFragment)
            {
                Bounds.Check(table.Last.Location, table.LengthOf(table.Count - 1), volume.Packed.Length, "erofs fragment");
            }
        }
        catch
        {
            table.Dispose();
            throw;
        }

        return table;
    }

    /// <summary>Where the first physical cluster is stored.</summary>
    public static long FirstByte(ErofsVolume volume, ErofsInode inode)
    {
        MapHeader header = ReadHeader(volume, inode, out long start);
        if (header.IsFragmentInode)
        {
            return inode.Position;
        }

        Span<byte> block = stackalloc byte[sizeof(uint)];
        if (inode.Layout == ErofsLayout.CompressedFull)
        {
            volume.ReadMetadata(start + MapHeader.Size + 8 + 4, block, Structure);
            return (long)BinaryPrimitives.ReadUInt32LittleEndian(block) << volume.Super.BlockShift;
        }

        long at = start + MapHeader.Size;
        bool isNarrow = at % PackAlign == 0 && (header.Advise & MapAdvise.Compacted2B) != 0 && inode.SizeBytes > (NarrowCount - 1L) << volume.Super.BlockShift;
        volume.ReadMetadata(at + (isNarrow ? PackAlign : WideCount * WideBytes) - sizeof(uint), block, Structure);
        return ((long)BinaryPrimitives.ReadUInt32LittleEndian(block) + (header.IsBig ? 0 : 1)) << volume.Super.BlockShift;
    }

    private static MapHeader ReadHeader(ErofsVolume volume, ErofsInode inode, out long start)
    {
        Span<byte> bytes = stackalloc byte[MapHeader.Size];
        start = (inode.End + 7) & ~7L;
        volume.ReadMetadata(start, bytes, "z_erofs_map_header");
        return new MapHeader(new LeView(bytes, "z_erofs_map_header", start));
    }

    private readonly DiskFormatException Corrupt(string detail) => new(Fault.Corrupt, Structure, _position, $"logical cluster {_number}: {detail}");

    // struct z_erofs_lcluster_index: each head says where its physical cluster is.
    private long ReadFull(long start)
    {
        RequireThere(start, _clusters, FullEntryBytes);
        Span<byte> entry = stackalloc byte[FullEntryBytes];
        for (; _number < _clusters; _number++)
        {
            CheckCancelled();
            _position = start + (_number * FullEntryBytes);
            _volume.ReadMetadata(_position, entry, Structure);
            int advise = BinaryPrimitives.ReadUInt16LittleEndian(entry);
            int type = advise & 3;
            if (type == NonHead)
            {
                AddNonHead(BinaryPrimitives.ReadUInt16LittleEndian(entry[4..]));
            }
            else
            {
                AddHead(type, BinaryPrimitives.ReadUInt16LittleEndian(entry[2..]), BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]), (advise & PartialReference) != 0);
            }
        }

        return start + (_clusters * FullEntryBytes);
    }

    // Entries of 4 bytes on average up to where 32 bytes are aligned, then as many full packs of 16 entries of 2 bytes as there are when these
    // are used, and 4 bytes again.
    private long ReadCompact(long start)
    {
        long first = Math.Min(_clusters, (PackAlign - (start % PackAlign)) / WideBytes % (PackAlign / WideBytes));
        long narrow = (_header.Advise & MapAdvise.Compacted2B) != 0 ? (_clusters - first) / NarrowCount * NarrowCount : 0;
        RequireThere(start, _clusters, NarrowBytes);
        if (narrow > 0 && _volume.Super.BlockShift > 12)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, start, "indexes of 2 bytes with blocks over 4 KiB");
        }

        if (_volume.Super.BlockShift > 14)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, start, "compact indexes with blocks over 16 KiB");
        }

        long at = ReadPacks(start, first, WideCount, WideBytes);
        at = ReadPacks(at, narrow, NarrowCount, NarrowBytes);
        return ReadPacks(at, _clusters - _number, WideCount, WideBytes);
    }

    // A pack is a row of entries of equal bits, the low ones an offset or distance, then two of type; its last four bytes say where its first
    // physical cluster is (of big pclusters), or the block before it.
    private long ReadPacks(long start, long count, int perPack, int bytesEach)
    {
        int packBytes = perPack * bytesEach;
        int bits = (packBytes - sizeof(uint)) * 8 / perPack;
        int lowBits = Math.Max(_volume.Super.BlockShift, 12);
        Span<byte> pack = stackalloc byte[PackAlign + sizeof(uint)];
        pack.Clear();
        long at = start;
        for (long left = count; left > 0; left -= perPack, at += packBytes)
        {
            CheckCancelled();
            _position = at;
            _volume.ReadMetadata(at, pack[..packBytes], Structure);
            uint block = BinaryPrimitives.ReadUInt32LittleEndian(pack[(packBytes - sizeof(uint))..]);
            int entries = (int)Math.Min(left, perPack);
            int Entry(Span<byte> bytes, int i) => (int)(BinaryPrimitives.ReadUInt32LittleEndian(bytes[(i * bits / 8)..]) >> (i * bits % 8) & ((1u << bits) - 1));
            for (int i = 0; i < entries; i++, _number++)
            {
                int entry = Entry(pack, i);
                int low = entry & ((1 << lowBits) - 1);
                int type = (entry >> lowBits) & 3;
                if (type == NonHead)
                {
                    // The last entry of a pack keeps the distance to the next head instead, which is never marked.
                    bool isCount = (low & BlockCount) != 0;
                    AddNonHead(low);
                    block = isCount ? unchecked(block + (uint)(low & ~BlockCount)) : block;

                    continue;
                }

                if (!_header.IsBig)
                {
                    block = unchecked(block + 1);
                }

                AddHead(type, low, block, isPart: false);
                if (_header.IsBig && (i + 1 >= entries || ((Entry(pack, i + 1) >> lowBits) & 3) != NonHead))
                {
                    block = unchecked(block + 1);
                }
            }
        }

        return at;
    }

    private void AddHead(int type, int offset, uint block, bool isPart)
    {
        if (offset >= _blockBytes)
        {
            throw Corrupt($"clusterofs {offset}");
        }

        long start = (_number << _volume.Super.BlockShift) + offset;
        if (_table.Count == 0 && start != 0)
        {
            throw Corrupt("the file has no beginning");
        }

        if (start >= _table.Length)
        {
            // mkfs.erofs closes the index of a file whose size is not one of whole clusters so; nothing is in it.
            _mayCount = false;
            return;
        }

        PclusterKind kind = type != Plain ? PclusterKind.Packed
            : (_header.Advise & MapAdvise.InterlacedPcluster) != 0 ? PclusterKind.Interlaced : PclusterKind.Shifted;
        _table.Add(new PclusterExtent(start, (long)block << _volume.Super.BlockShift, _blockBytes, kind, type == Head2 ? _header.Head2 : _header.Head1, isPart));
        _mayCount = true;
    }

    private void AddNonHead(int distance)
    {
        if (_table.Count == 0)
        {
            throw Corrupt("no head before it");
        }

        if ((distance & BlockCount) != 0)
        {
            // Only the first behind a head counts blocks.
            long bytes = (long)(distance & ~BlockCount) * _blockBytes;
            if (!_mayCount || !_header.IsBig || bytes is 0 or > MostStoredBytes)
            {
                throw Corrupt($"a count of {distance & ~BlockCount} blocks");
            }

            _table.ReplaceLast(_table.Last with { StoredBytes = (int)bytes });
        }

        _mayCount = false;
    }

    // The last extent may lie behind the index or in the packed inode.
    private readonly void Finish(long end, ErofsLayout layout)
    {
        PclusterExtent last = _table.Last;
        if ((_header.Advise & MapAdvise.InlinePcluster) != 0)
        {
            int bytes = _header.InlineBytes;
            if (bytes == 0 || (end & (_blockBytes - 1)) + bytes > _blockBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, end, $"an inline cluster of {bytes} bytes");
            }

            if (last.Kind == PclusterKind.Interlaced && bytes < _blockBytes)
            {
                throw new DiskFormatException(Fault.Unsupported, Structure, end, "an inline cluster that is interlaced");
            }

            _table.ReplaceLast(last with { Location = end, StoredBytes = bytes });
        }
        else if ((_header.Advise & MapAdvise.FragmentPcluster) != 0)
        {
            // With full indexes the block address holds the upper half of the offset.
            long high = layout == ErofsLayout.CompressedFull ? last.Location >> _volume.Super.BlockShift << 32 : 0;
            _table.ReplaceLast(last with { Location = (high | _header.FragmentOffset) & long.MaxValue, Kind = PclusterKind.Fragment });
        }
    }

    private readonly void CheckCancelled()
    {
        if ((_number & 0xFFF) == 0)
        {
            _volume.Context.ThrowIfCancelled();
        }
    }

    private readonly void RequireThere(long start, long count, int bytesEach)
    {
        if (count > (_volume.Source.Length - start) / bytesEach)
        {
            throw new DiskFormatException(Fault.Truncated, Structure, start, $"{count} logical clusters");
        }
    }
}
