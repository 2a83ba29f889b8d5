using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>A file of Btrfs, with what is needed to open it.</summary>
internal sealed class BtrfsFile : GuestFile
{
    /// <summary>Null for what belongs to the volume itself.</summary>
    public Subvolume? Subvolume { get; init; }

    /// <summary>All of the file's extents where they are few and none lies in the tree itself; null: they are read when it is opened.</summary>
    public FileExtent[]? Extents { get; init; }

    public bool HasSums { get; init; }

    public uint Uid { get; init; }

    public GuestSubvolume? Topmost { get; init; }

    public override GuestSubvolume? RootOf => Topmost;

    public override string Owner => Subvolume is null ? "" : Uid.ToString(CultureInfo.InvariantCulture);
}
