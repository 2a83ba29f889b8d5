using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>A file with its extents.</summary>
internal sealed class IsoFile : GuestFile
{
    public required FilePiece[] Extents { get; init; }

    /// <summary>Bytes as they are stored.</summary>
    public required long StoredBytes { get; init; }

    public Zisofs? Packed { get; init; }

    /// <summary>The target of a symbolic link, which lies in the folder; null for anything else.</summary>
    public byte[]? Target { get; init; }

    /// <summary>-1 where the disc names none.</summary>
    public long Uid { get; init; } = -1;

    public override string Owner => Uid < 0 ? "" : Uid.ToString(CultureInfo.InvariantCulture);
}
