using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>A file of EROFS with its inode.</summary>
internal sealed class ErofsFile : GuestFile
{
    public required ErofsInode Inode { get; init; }

    public bool IsBoot { get; init; }

    public override string Owner => IsBoot ? "" : Inode.Uid.ToString(CultureInfo.InvariantCulture);
}
