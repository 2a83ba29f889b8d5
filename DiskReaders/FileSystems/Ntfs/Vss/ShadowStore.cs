using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>
/// The store of one shadow copy: the blocks that were overwritten while it was the newest. Spec: J. Metz, "Volume Shadow Snapshot (VSS)
/// format", "Store" and "Successive block descriptors".
/// </summary>
internal sealed class ShadowStore : IDisposable
{
    /// <summary>What a block costs in memory: key, value and a dictionary's own.</summary>
    private const int BytesOfBlock = 64;

    private readonly IBlockSource _volume;
    private readonly ReadContext _context;
    private readonly Dictionary<long, StoredBlock> _blocks = [];

    // Forwarders by the offset that they lead to: a later descriptor of that offset is one of the block it came from.
    private readonly Dictionary<long, long> _forwarded = [];
    private readonly List<BudgetReservation> _memory = [];

    private ShadowStore(IBlockSource volume, ReadContext context)
    {
        _volume = volume;
        _context = context;
    }

    /// <summary>Reads the block list of a store.</summary>
    /// <exception cref="DiskFormatException">A descriptor or the list is damaged: a block left out would show what was written later.</exception>
    public static ShadowStore Read(IBlockSource volume, CatalogEntry entry, ReadContext context)
    {
        var store = new ShadowStore(volume, context);
        try
        {
            VssBlock.ForEach(volume, entry.BlockListOffset, VssRecord.BlockList, "VSS block list", volume.Length / VssBlock.Size, context, store.ReadBlock);
            return store;
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    public bool TryFind(long block, out StoredBlock stored) => _blocks.TryGetValue(block, out stored);

    /// <summary>Something was moved to this offset since.</summary>
    public bool IsForwardedTo(long block) => _forwarded.ContainsKey(block);

    public void Dispose()
    {
        _memory.ForEach(m => m.Dispose());
        _memory.Clear();
    }

    private bool ReadBlock(LeView block, long offset)
    {
        const int Entries = (VssBlock.Size - VssBlock.HeaderBytes) / BlockDescriptor.Size;
        _memory.Add(_context.Budget.Reserve(Entries * BytesOfBlock));
        for (int i = 0; i < Entries; i++)
        {
            LeView entry = block.Inner(VssBlock.HeaderBytes + (i * BlockDescriptor.Size), BlockDescriptor.Size, "VSS block descriptor");
            if (entry.Bytes.ContainsAnyExcept((byte)0))
            {
                Add(new BlockDescriptor(entry, _volume.Length));
            }
        }

        return true;
    }

    private void Add(BlockDescriptor descriptor)
    {
        if (descriptor.IsUnused)
        {
            return;
        }

        if (descriptor.IsOverlay)
        {
            AddOverlay(descriptor);
            return;
        }

        long original = descriptor.OriginalOffset;
        if (_forwarded.Remove(original, out long source))
        {
            original = source;
            if (descriptor.IsForwarder && original == descriptor.RelativeOffset)
            {
                return;
            }
        }

        _blocks.TryGetValue(original, out StoredBlock stored);
        stored.Location = descriptor.IsForwarder ? descriptor.RelativeOffset : descriptor.StoreOffset;
        stored.IsForwarder = descriptor.IsForwarder;
        _blocks[original] = stored;
        if (descriptor.IsForwarder)
        {
            _forwarded[descriptor.RelativeOffset] = original;
        }
    }

    /// <summary>A second overlay of a block lies where the first does.</summary>
    private void AddOverlay(BlockDescriptor descriptor)
    {
        if (!_blocks.TryGetValue(descriptor.OriginalOffset, out StoredBlock stored))
        {
            stored.Location = -1;
        }

        if (stored.OverlaySectors == 0)
        {
            stored.OverlayLocation = descriptor.StoreOffset;
        }

        stored.OverlaySectors |= descriptor.AllocationBitmap;
        _blocks[descriptor.OriginalOffset] = stored;
    }
}
