using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>A file, stream, folder or link with its extents.</summary>
internal sealed class UdfFile : GuestFile
{
    /// <summary>2^32 - 1: no owner is named (ECMA-167, 4/14.9.3).</summary>
    private const uint NoOwner = 0xFFFF_FFFF;

    public required FilePiece[] Extents { get; init; }

    /// <summary>The target of a symbolic link, which is made from its path components; null for anything else.</summary>
    public byte[]? Target { get; init; }

    public uint Uid { get; init; } = NoOwner;

    public override string Owner => Uid == NoOwner ? "" : Uid.ToString(CultureInfo.InvariantCulture);
}
