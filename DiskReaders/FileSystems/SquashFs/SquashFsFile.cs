using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>A file of SquashFS, with what is needed to open it without reading its inode again.</summary>
internal sealed class SquashFsFile : GuestFile
{
    /// <summary>Where the first block is stored.</summary>
    public long Start { get; init; }

    public uint Fragment { get; init; } = SquashFsInode.NoFragment;

    public uint FragmentOffset { get; init; }

    /// <summary>Stored sizes of the blocks as the inode has them; null when there are many: they are read again when the file is opened.</summary>
    public uint[]? BlockSizes { get; init; }

    /// <summary>Address of the block sizes, or of a link's target, in the inode table.</summary>
    public long Tail { get; init; }

    public uint? Uid { get; init; }

    public override string Owner => Uid?.ToString(CultureInfo.InvariantCulture) ?? "";
}
