using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>What all parts of the reader share: the volume as its journal leaves it, the superblock, and blocks and inodes by number.</summary>
internal sealed class ExtVolume : IDisposable
{
    private readonly PageCache _metadata;
    private ExtGroups? _groups;

    public ExtVolume(ExtSuperblock super, IBlockSource source, ReadContext context, FastCommits? changes = null)
    {
        Super = super;
        Source = source;
        Context = context;
        Changes = changes;
        _metadata = new PageCache(source, context, pages: 32);
    }

    public ExtSuperblock Super { get; }

    public IBlockSource Source { get; }

    public ReadContext Context { get; }

    /// <summary>What the journal's fast commits change; null when there are none.</summary>
    public FastCommits? Changes { get; }

    public ExtGroups Groups => _groups ??= ExtGroups.Load(Super, Source, Context);

    /// <summary>Reads a block of metadata.</summary>
    /// <exception cref="DiskFormatException">There is no such block, or it cannot be read.</exception>
    public void ReadBlock(long block, Span<byte> destination, string structure)
    {
        if (block <= 0 || block >= Super.BlocksCount)
        {
            throw new DiskFormatException(Fault.Corrupt, structure, -1, $"block {block} lies outside the file system");
        }

        _metadata.Read(block << Super.BlockShift, destination);
    }

    /// <summary>Where an inode lies on the volume; -1 when it does not exist or its group is damaged.</summary>
    public long InodeOffset(uint inode)
    {
        int index = Groups.IndexOf(inode);
        return index < 0 ? -1 : Groups.All[index].InodeTable + ((inode - 1L) % Super.InodesPerGroup * Super.InodeBytes);
    }

    /// <exception cref="DiskFormatException">There is no such inode, or it cannot be read.</exception>
    public byte[] ReadInode(uint inode)
    {
        long offset = InodeOffset(inode);
        if (offset < 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "ext4_inode", -1, $"inode {inode} does not exist");
        }

        byte[] bytes = new byte[Super.InodeBytes];
        _metadata.Read(offset, bytes);
        return bytes;
    }

    public bool InodeInUse(ExtGroup group, uint indexInGroup)
    {
        if (group.InodeBitmap < 0)
        {
            return false;
        }

        Span<byte> bits = stackalloc byte[1];
        _metadata.Read(group.InodeBitmap + (indexInGroup >> 3), bits);
        return (bits[0] & (1 << (int)(indexInGroup & 7))) != 0;
    }

    /// <summary>The map of a content that lies in blocks. Dispose it when it is <see cref="IDisposable"/>.</summary>
    /// <exception cref="DiskFormatException">The root of the extent tree is damaged.</exception>
    public IExtentMap BlockMap(bool extents, byte[] blockField, long length, uint nodeSeed, uint number)
    {
        IExtentMap map = extents
            ? new ExtentTreeMap(this, blockField, length, nodeSeed, InodeOffset(number))
            : new BlockPointerMap(this, blockField, length);
        return Changes is null ? map : Changes.Over(map, number);
    }

    public IExtentMap BlockMap(ExtInode inode, uint number, long length) => BlockMap(
        inode.Flags.HasFlag(ExtInodeFlags.Extents),
        inode.BlockField.ToArray(),
        length,
        inode.NodeSeed(Super.ChecksumSeed, number),
        number);

    public void Dispose() => _metadata.Dispose();
}
