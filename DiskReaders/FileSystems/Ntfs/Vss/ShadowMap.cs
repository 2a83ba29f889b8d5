using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>
/// The volume as it was: each block is in the store of the shadow copy, or in that of a newer one, or still on the volume.
/// Spec: J. Metz, "Volume Shadow Snapshot (VSS) format", "Reading snapshot data".
/// </summary>
internal sealed class ShadowMap : IExtentMap, IDisposable
{
    private const int SectorBytes = 512;
    private const int AllSectors = VssBlock.Size / SectorBytes;

    // The shadow copy's own store first, then those of the newer ones.
    private readonly IReadOnlyList<ShadowStore> _stores;
    private readonly UnusedBlocks? _unused;

    /// <param name="stores">Owned by this.</param>
    /// <param name="unused">Blocks that were not kept because nothing used them; null unless this is the newest shadow copy. Owned.</param>
    /// <param name="length">Length of the volume as it was.</param>
    public ShadowMap(IReadOnlyList<ShadowStore> stores, UnusedBlocks? unused, long length)
    {
        _stores = stores;
        _unused = unused;
        Length = length;
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        long block = offset - (offset % VssBlock.Size);
        long within = offset - block;
        long length = Math.Min(count, VssBlock.Size - within);
        for (int i = 0; i < _stores.Count; i++)
        {
            if (!_stores[i].TryFind(block, out StoredBlock stored))
            {
                continue;
            }

            // Overlays hold what was changed of a block that a newer store has whole; only the copy's own count.
            if (i == 0 && stored.OverlaySectors != 0)
            {
                int sector = (int)(within / SectorBytes);
                uint rest = stored.OverlaySectors >> sector;
                bool isOverlaid = (rest & 1) != 0;
                int sectors = Math.Min(BitOperations.TrailingZeroCount(isOverlaid ? ~rest : rest), AllSectors - sector);
                length = Math.Min(length, ((long)(sector + sectors) * SectorBytes) - within);
                if (isOverlaid)
                {
                    return new Extent(ExtentKind.Data, length, stored.OverlayLocation + within);
                }
            }

            if (stored.Location < 0)
            {
                continue;
            }

            if (!stored.IsForwarder)
            {
                return new Extent(ExtentKind.Data, length, stored.Location + within);
            }

            block = stored.Location;
            if (i == _stores.Count - 1)
            {
                return new Extent(ExtentKind.Data, length, block + within);
            }
        }

        return _unused is not null && !_stores[^1].IsForwardedTo(block) && _unused.Contains(block)
            ? new Extent(ExtentKind.Zero, length)
            : new Extent(ExtentKind.Data, length, block + within);
    }

    public void Dispose()
    {
        foreach (ShadowStore store in _stores)
        {
            store.Dispose();
        }

        _unused?.Dispose();
    }
}
