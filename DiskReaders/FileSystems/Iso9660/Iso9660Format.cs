using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>ISO 9660 with Rock Ridge and Joliet. Spec: ECMA-119, IEEE P1281 and P1282, the Joliet Specification.</summary>
public sealed class Iso9660Format : IFileSystemFormat
{
    public string Name => "iso9660";

    public FormatSupport Support { get; } = new(
        "ISO 9660",
        "Rock Ridge, Joliet, files in several extents, zisofs, boot images of El Torito",
        "interleaved files; sessions before or after the one that the first descriptors name");

    /// <summary>A disc may hold a UDF too; which of them is read is decided where both are known.</summary>
    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return volume.HasAt((IsoDescriptors.FirstSector * IsoDescriptors.SectorBytes) + 1, "CD001"u8);
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        return new IsoFileSystem(volume, context);
    }
}
