using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>What all parts of the reader share: inodes, decoders, and the packed inode that holds the ends of files.</summary>
internal sealed class ErofsVolume : IDisposable
{
    private const int NidShift = 5;
    private const int CachedUnits = 4;
    private const int CachedPackedUnits = 16;

    private readonly PageCache _metadata;
    private readonly Lock _lock = new();
    private IBlockSource? _packed;

    public ErofsVolume(ErofsSuperblock super, IBlockSource source, ReadContext context)
    {
        Super = super;
        Source = source;
        Context = context;
        Devices = new ErofsDevices(super, source);
        _metadata = new PageCache(source, context, pages: 64);
    }

    public ErofsSuperblock Super { get; }

    public IBlockSource Source { get; }

    public ReadContext Context { get; }

    public ErofsDevices Devices { get; }

    public PclusterUnpacker Unpacker { get; } = new();

    /// <summary>The content of the packed inode; opened when it is first asked for.</summary>
    public IBlockSource Packed
    {
        get
        {
            lock (_lock)
            {
                return _packed ??= OpenPacked();
            }
        }
    }

    /// <exception cref="DiskFormatException">There is no such inode, or it is damaged.</exception>
    public ErofsInode ReadInode(ulong nid)
    {
        Span<byte> bytes = stackalloc byte[ErofsInode.ExtendedBytes];
        if (nid >= (ulong)Source.Length >> NidShift)
        {
            throw new DiskFormatException(Fault.Corrupt, "erofs inode", -1, $"inode {nid} lies outside the volume");
        }

        long at = Super.MetaOffset + ((long)nid << NidShift);
        ReadMetadata(at, bytes[..ErofsInode.CompactBytes], "erofs inode");
        if ((bytes[0] & 1) != 0)
        {
            ReadMetadata(at + ErofsInode.CompactBytes, bytes[ErofsInode.CompactBytes..], "erofs inode");
        }

        return new ErofsInode(nid, new LeView(bytes, "erofs inode", at));
    }

    public void ReadMetadata(long at, Span<byte> destination, string structure)
    {
        Bounds.Check(at, destination.Length, Source.Length, structure);
        _metadata.Read(at, destination);
    }

    /// <summary>The content of an inode.</summary>
    public IBlockSource Open(ErofsInode inode, bool isPacked = false)
    {
        if (inode.SizeBytes == 0)
        {
            return MemorySource.Empty;
        }

        switch (inode.Layout)
        {
            case ErofsLayout.FlatPlain:
            case ErofsLayout.FlatInline:
                return new MappedSource(new FlatMap(this, inode), [Source]);
            case ErofsLayout.ChunkBased:
                return new MappedSource(new ChunkMap(this, inode), [Source]);
            default:
                ExtentTable table = ClusterIndex.Load(this, inode, isPacked);
                try
                {
                    var units = new PclusterSource(this, table, isPacked ? CachedPackedUnits : CachedUnits);
                    return new MappedSource(table, table.HasFragment ? [Source, units, Packed] : [Source, units], owned: units);
                }
                catch
                {
                    table.Dispose();
                    throw;
                }
        }
    }

    public void Dispose()
    {
        _packed?.Dispose();
        _metadata.Dispose();
        Unpacker.Dispose();
    }

    private IBlockSource OpenPacked() => Super.PackedNid == 0
        ? throw new DiskFormatException(Fault.Corrupt, "erofs_super_block", ErofsSuperblock.Offset + 96, "a fragment, and no packed_nid")
        : Open(ReadInode(Super.PackedNid), isPacked: true);
}
