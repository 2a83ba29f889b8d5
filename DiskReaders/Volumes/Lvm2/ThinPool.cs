using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// A thin pool's metadata: <c>struct thin_disk_superblock</c> in block 0, then a tree of devices, each with a tree of its blocks.
/// Linux Documentation/admin-guide/device-mapper/thin-provisioning.rst; drivers/md/dm-thin-metadata.c, "On disk format". Little-endian.
/// </summary>
internal sealed class ThinPool : IDisposable
{
    private const string Structure = "dm-thin superblock";
    private const uint Salt = 160774;
    private const ulong Magic = 27022010;
    private const uint NeedsCheck = 1;

    private readonly MetadataBlocks _blocks;
    private readonly IBlockSource _data;
    private readonly long _devices;

    /// <param name="metadata">Bytes of the pool's metadata volume; not owned.</param>
    /// <param name="data">Bytes of its data volume; not owned.</param>
    /// <param name="blockBytes">What the group's text says of the size of a block.</param>
    /// <param name="transaction">What the group's text says of the pool's transaction.</param>
    /// <param name="name">Of the pool, for gaps.</param>
    /// <param name="context">Memory, and where to report.</param>
    public ThinPool(IBlockSource metadata, IBlockSource data, long blockBytes, long transaction, string name, ReadContext context)
    {
        _data = data;
        _blocks = new MetadataBlocks(metadata, context);
        try
        {
            using RentedBuffer page = context.Budget.Rent(MetadataBlocks.BlockBytes);
            metadata.Read(0, page.Span);
            var v = new LeView(page.Span, Structure, 0);
            v.Require(v.U32(0) == MetadataBlocks.Checksum(page.Span, Salt), 0, "checksum");
            v.Require(v.U64(32) == Magic, 32, "magic");
            v.Require(v.U64(8) == 0, 8, "blocknr");
            if (v.U32(40) is not (1 or 2) || v.U32(360) != 0)
            {
                throw v.Unsupported(40, "version or incompat_flags");
            }

            v.Require(v.U32(340) == MetadataBlocks.BlockBytes / 512, 340, "metadata_block_size");
            BlockBytes = 512L * v.U32(336);
            v.Require(BlockBytes == blockBytes && BlockBytes is > 0 and <= Lvm2Limits.MostBlockBytes, 336, "data_block_size");
            _devices = _blocks.BlockNumber(v, 320, "data_mapping_root");
            if ((v.U32(4) & NeedsCheck) != 0)
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, name, Structure, 4, 0, "the pool is marked to be checked: the kernel met an error in its metadata"));
            }

            // LVM2 would not activate it: one of both metadata is older than the other.
            if (v.U64(48) != (ulong)transaction)
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, name, Structure, 48, 0, $"the pool is at transaction {v.U64(48)}, the group expects {transaction}"));
            }
        }
        catch
        {
            _blocks.Dispose();
            throw;
        }
    }

    public long BlockBytes { get; }

    /// <summary>Opens a thin device.</summary>
    /// <param name="device">Its number in the pool.</param>
    /// <param name="length">What the group's text says of its length.</param>
    /// <param name="origin">What shows where the pool holds no block; zeros without.</param>
    public IBlockSource Open(long device, long length, IBlockSource? origin)
    {
        long root;
        lock (_blocks.Lock)
        {
            if (!_blocks.TryFind(_devices, (ulong)device, 8, out _, out MetadataBlocks.Node leaf, out int index))
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, 320, $"the pool has no device {device}");
            }

            root = _blocks.BlockNumber(leaf.Block, leaf.ValueAt(index), "root of a device");
        }

        return new MappedSource(new DeviceMap(this, root, length, origin), origin is null ? [_data] : [_data, origin]);
    }

    public void Dispose() => _blocks.Dispose();

    /// <summary>A device's tree: block of the device to block of the data volume (upper 40 bits of the value) and the time it was written.</summary>
    private sealed class DeviceMap(ThinPool pool, long root, long length, IBlockSource? origin) : IExtentMap
    {
        private const int TimeBits = 24;

        public long Length { get; } = length;

        public Extent Map(long offset, long count)
        {
            long block = Math.DivRem(offset, pool.BlockBytes, out long within);
            lock (pool._blocks.Lock)
            {
                if (!pool._blocks.TryFind(root, (ulong)block, 8, out ulong next, out MetadataBlocks.Node leaf, out int index))
                {
                    // A damaged tree may answer with a key from before.
                    long end = next <= (ulong)block ? (block + 1) * pool.BlockBytes : next > (ulong)(long.MaxValue / pool.BlockBytes) ? Length : (long)next * pool.BlockBytes;
                    return Through(offset, Math.Min(count, end - offset));
                }

                long first = DataBlock(leaf, index);
                long run = pool.BlockBytes - within;
                for (int i = 1; run < count && index + i < leaf.Count && leaf.Key(index + i) == (ulong)(block + i) && DataBlock(leaf, index + i) == first + i; i++)
                {
                    run += pool.BlockBytes;
                }

                return new Extent(ExtentKind.Data, Math.Min(count, run), (first * pool.BlockBytes) + within);
            }
        }

        private Extent Through(long offset, long count) => origin is null || offset >= origin.Length
            ? new Extent(ExtentKind.Hole, count)
            : new Extent(ExtentKind.Data, Math.Min(count, origin.Length - offset), offset, 1);

        // The last block of the data volume may be cut off; then the read says so.
        private long DataBlock(MetadataBlocks.Node leaf, int index)
        {
            ulong number = leaf.Block.U64(leaf.ValueAt(index)) >> TimeBits;
            leaf.Block.Require(number < (ulong)(pool._data.Length / pool.BlockBytes), leaf.ValueAt(index), "data block");
            return (long)number;
        }
    }
}
