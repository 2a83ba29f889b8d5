using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>Where the content of an inode is kept.</summary>
internal enum ExtContent
{
    None,

    /// <summary>In extents, all four or fewer in the inode; only their entries are kept.</summary>
    Extents,

    /// <summary>In extents below the inode; <c>i_block</c> is kept.</summary>
    ExtentTree,

    /// <summary>In blocks by pointers; <c>i_block</c> is kept.</summary>
    Pointers,

    /// <summary>In the inode: inline data or the target of a short link. Read again when it is opened.</summary>
    Inode,

    /// <summary>A range of the volume that no inode describes.</summary>
    Volume,
}

/// <summary>A file of ext2, ext3 or ext4, with what is needed to open it without reading its inode again.</summary>
internal sealed class ExtFile : GuestFile
{
    public required ExtContent Content { get; init; }

    /// <summary>Extent entries or <c>i_block</c>, as <see cref="Content"/> says.</summary>
    public byte[] Map { get; init; } = [];

    public uint Uid { get; init; }

    public uint NodeSeed { get; init; }

    public override string Owner => Content == ExtContent.Volume ? "" : Uid.ToString(CultureInfo.InvariantCulture);
}
