using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Space;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>What all parts of the reader share: devices, chunks, nodes, trees by id, checksums of data.</summary>
internal sealed class BtrfsVolume : IDisposable
{
    private const string ChunkStructure = "btrfs_chunk";
    private const int MostChunks = 1 << 20;        // 1 PiB in chunks of 1 GiB
    private const int BytesPerRoot = 512;

    private readonly DeviceSet _devices;

    public BtrfsVolume(IReadOnlyList<IBlockSource> volumes, ReadContext context)
    {
        Context = context;
        _devices = DeviceSet.Of(volumes, context.Gaps);
        Super = _devices.Super;
        Super.RequireKnown();
        ChunkMap chunks = new();
        AddSystemChunks(chunks);
        Space = new LogicalSpace(chunks, _devices, context);
        Nodes = new NodeReader(Super, Space, context);
        try
        {
            AddChunks(chunks);
            ReportMissing();
            Roots = SubvolumeTable.Read(this, new TreeRoot(1, Super.Root, Super.RootLevel, Super.Generation), (int)Math.Min(int.MaxValue, context.Budget.CeilingBytes / BytesPerRoot));
            Sums = new DataSums(this, Roots.CsumTree);
            Data = new CheckedData(this);
            Plain = new PlainData(this);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public ReadContext Context { get; }

    public BtrfsSuperblock Super { get; }

    public LogicalSpace Space { get; }

    public NodeReader Nodes { get; }

    public SubvolumeTable Roots { get; } = null!;

    public DataSums Sums { get; } = null!;

    /// <summary>Logical addresses, every sector checked.</summary>
    public CheckedData Data { get; } = null!;

    /// <summary>Logical addresses without checksums.</summary>
    public PlainData Plain { get; } = null!;

    public Unpackers Unpackers { get; } = new();

    public long FirstVolumeBytes => _devices.FirstVolumeBytes;

    public int DeviceCount => _devices.All.Count;

    public int FoundDevices => _devices.All.Count - _devices.Missing.Count();

    /// <summary>Where a logical address lies on its first device; -1 when not known.</summary>
    public long PhysicalOf(long logical)
    {
        try
        {
            return Space.PhysicalOf(logical);
        }
        catch (DiskFormatException)
        {
            return -1;
        }
    }

    public TreeCursor Open(TreeRoot root, bool bulk = false) => new(Nodes, root, Context, bulk);

    public void Dispose()
    {
        Sums?.Dispose();
        Nodes.Dispose();
        Unpackers.Dispose();
    }

    // "Superblock": keys and items of the chunks that hold the chunk tree.
    private void AddSystemChunks(ChunkMap chunks)
    {
        var view = new LeView(Super.SysChunkArray, "sys_chunk_array", Super.Offset + 0x32B);
        for (int at = 0; at < view.Length;)
        {
            BtrfsKey key = BtrfsKey.Read(view.Field(at, BtrfsKey.Size));
            view.Require(key.Type == ItemType.Chunk, at, "key");
            at += BtrfsKey.Size;
            int bytes = Chunk.HeaderBytes + (view.U16(at + 0x2C) * Chunk.StripeItemBytes);
            Chunk chunk = Chunk.Read(view.Inner(at, bytes, ChunkStructure), key.Offset, Super.SectorBytes, _devices.IndexOf);
            view.Require(chunks.Add(chunk), at, "chunk: it overlaps another");
            at += bytes;
        }
    }

    private void AddChunks(ChunkMap chunks)
    {
        using TreeCursor cursor = Open(new TreeRoot(3, Super.ChunkRoot, Super.ChunkRootLevel, Super.ChunkRootGeneration), bulk: true);
        cursor.Lost = (from, _, e) => Context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; chunks from {from.Offset} on are not known" });
        if (!cursor.Seek(BtrfsKey.Least, out _))
        {
            throw new DiskFormatException(Fault.Corrupt, "chunk tree", Super.ChunkRoot, "it cannot be read");
        }

        do
        {
            Node leaf = cursor.Leaf;
            for (int i = 0; i < leaf.Count; i++)
            {
                BtrfsKey key = leaf.Key(i);
                try
                {
                    if (key is { Id: ObjectId.Devices, Type: ItemType.Device })
                    {
                        var item = new DeviceItem(new LeView(leaf.Data(i), "btrfs_dev_item", (long)leaf.Logical));
                        _devices.IndexOf(item.Id, item.Uuid);
                        Nodes.Accept(item.Fsid);
                    }
                    else if (key is { Id: ObjectId.FirstChunkTree, Type: ItemType.Chunk })
                    {
                        if (chunks.All.Count >= MostChunks)
                        {
                            throw new DiskFormatException(Fault.Limit, ChunkStructure, (long)leaf.Logical, $"more than {MostChunks} chunks");
                        }

                        var view = new LeView(leaf.Data(i), ChunkStructure, (long)leaf.Logical);
                        view.Require(chunks.Add(Chunk.Read(view, key.Offset, Super.SectorBytes, _devices.IndexOf)), 0, "chunk: it overlaps another");
                    }
                }
                catch (DiskFormatException e)
                {
                    Context.Gaps.Add(new CoverageGap(e, "", 0));
                }
            }
        }
        while (cursor.NextLeaf());
    }

    private void ReportMissing()
    {
        foreach (Device device in _devices.Missing)
        {
            Context.Gaps.Add(new CoverageGap(Fault.MissingParent, "", "device", -1, 0, $"device {device.Id} ({BtrfsSuperblock.UuidText(device.Uuid)}), one of {_devices.All.Count}, is missing; what has no copy elsewhere cannot be read"));
        }

        foreach (Device device in _devices.All.Where(d => d.Rank == Device.Stale))
        {
            Context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "device", -1, 0, $"device {device.Id} missed the last commits; other copies are read first"));
        }
    }
}
