using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Xfs.Log;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>What all parts of the reader share: the volume as its log leaves it, the superblock, and addresses.</summary>
internal sealed class XfsVolume : IDisposable
{
    private const int SectorShift = 9;

    private readonly PageCache _metadata;
    private readonly LogPatches? _patches;
    private InodeChunks? _chunks;

    /// <param name="super">The superblock as the log leaves it.</param>
    /// <param name="volume">The volume as it is stored.</param>
    /// <param name="context">Memory and gaps.</param>
    /// <param name="patches">What the log changes; owned. Null when it changes nothing.</param>
    public XfsVolume(XfsSuperblock super, IBlockSource volume, ReadContext context, LogPatches? patches = null)
    {
        Super = super;
        Context = context;
        _patches = patches;
        Source = patches?.Over(volume) ?? volume;
        _metadata = new PageCache(Source, context, pages: 32);
    }

    public XfsSuperblock Super { get; }

    public IBlockSource Source { get; }

    public ReadContext Context { get; }

    public InodeChunks Chunks => _chunks ??= InodeChunks.Load(this);

    /// <summary>The byte where a block of a group lies.</summary>
    public long ByteOf(uint group, uint block) => Super.GroupOffset(group) + ((long)block << Super.BlockShift);

    /// <summary>The byte where <paramref name="count"/> blocks from a block number of the file system lie ("Allocation Groups": group number in the high bits).</summary>
    /// <exception cref="DiskFormatException">They do not lie within one group.</exception>
    public long ByteOf(ulong fsBlock, long count, string structure, long at)
    {
        ulong group = fsBlock >> Super.GroupBlocksLog;
        uint block = (uint)(fsBlock & ((1UL << Super.GroupBlocksLog) - 1));
        return group < Super.GroupCount && count > 0 && count <= (long)Super.BlocksOf((uint)group) - block
            ? ByteOf((uint)group, block)
            : throw new DiskFormatException(Fault.Corrupt, structure, at, $"{count} blocks at {fsBlock} lie outside the file system");
    }

    /// <summary>The byte where an inode lies; -1 when no inode can have the number.</summary>
    public long InodeOffset(ulong inode)
    {
        ulong group = inode >> Super.GroupInodesLog;
        uint index = (uint)(inode & ((1UL << Super.GroupInodesLog) - 1));
        return group < Super.GroupCount && index >> Super.InodesPerBlockLog < Super.BlocksOf((uint)group)
            ? Super.GroupOffset((uint)group) + ((long)index * Super.InodeBytes)
            : -1;
    }

    /// <summary>The number that version 5 metadata keeps of where it lies: sectors of 512 bytes.</summary>
    public static ulong SectorOf(long offset) => (ulong)offset >> SectorShift;

    /// <summary>Reads metadata in small pieces, through a cache.</summary>
    public void Read(long offset, Span<byte> destination) => _metadata.Read(offset, destination);

    /// <summary>True when the log changed something of the range: its checksum is then an old one.</summary>
    public bool IsPatched(long offset, long count) => _patches?.Touches(offset, count) == true;

    /// <summary>True when the log gives an inode's mapping blocks a new owner, which they do not name yet.</summary>
    public bool HasNewOwner(ulong inode) => _patches?.NewOwners.Contains(inode) == true;

    public void Dispose()
    {
        _metadata.Dispose();
        _patches?.Dispose();
    }
}
