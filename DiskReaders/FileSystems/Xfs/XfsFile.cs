using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>Where the content of an inode is kept.</summary>
internal enum XfsContent
{
    None,

    /// <summary>In extents; their list is kept.</summary>
    Extents,

    /// <summary>In extents below a B+tree; the fork with its root is kept.</summary>
    Tree,

    /// <summary>In the inode: it begins at <see cref="GuestFile.FirstByte"/>.</summary>
    Inode,

    /// <summary>The target of a long link behind headers of its own; the list of extents is kept.</summary>
    RemoteLink,
}

/// <summary>A file of XFS, with what is needed to open it without reading its inode again.</summary>
internal sealed class XfsFile : GuestFile
{
    public required XfsContent Content { get; init; }

    /// <summary>Extents or a fork, as <see cref="Content"/> says.</summary>
    public byte[] Map { get; init; } = [];

    public uint Uid { get; init; }

    public override string Owner => Uid.ToString(CultureInfo.InvariantCulture);
}
