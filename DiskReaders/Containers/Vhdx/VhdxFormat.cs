using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>
/// Hyper-V's VHDX: fixed, dynamic and differencing. Spec: [MS-VHDX]. The log is replayed in memory; a parent is opened through
/// the resolver and must have the identity that the parent locator names.
/// </summary>
public sealed class VhdxFormat : IContainerFormat
{
    /// <summary>What naming the parent may use: a log to replay, two copies of it, and tables.</summary>
    private const long ReferenceBudgetBytes = 160 << 20;

    public string Name => "vhdx";

    public FormatSupport Support { get; } = new(
        "Hyper-V VHDX",
        "fixed, dynamic and differencing (.vhdx, .avhdx), sectors of 512 and 4096 bytes, log replayed in memory, DataWriteGuid of parents checked",
        "unknown required regions and metadata");

    /// <summary>2.2.1: the File Type Identifier's Signature.</summary>
    private static ReadOnlySpan<byte> Signature => "vhdxfile"u8;

    public bool Probe(ImageFile file)
    {
        Span<byte> bytes = stackalloc byte[8];
        if (file.Bytes.Length < bytes.Length)
        {
            return false;
        }

        try
        {
            file.Bytes.Read(0, bytes);
        }
        catch (DiskFormatException)
        {
            return false;
        }

        return bytes.SequenceEqual(Signature);
    }

    public IReadOnlyList<ImageReference> References(ImageFile file)
    {
        using Image image = Load(file, new ReadContext(new ScanBudget(ReferenceBudgetBytes), new GapList()));
        return image.Metadata.Parent is { } parent ? [new ImageReference(ReferenceKind.Parent, parent.Paths)] : [];
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        Image image = Load(file, context);
        VhdxMap? map = null;
        VirtualDisk? parent = null;
        try
        {
            map = new VhdxMap(image.Bytes, image.Regions, image.Metadata, context.Budget);
            string format = "vhdx/dynamic";
            if (image.Metadata.Parent is { } locator)
            {
                format = "vhdx/differencing";
                parent = chain.OpenParent(file, new ImageReference(ReferenceKind.Parent, locator.Paths));
                CheckParent(parent, locator, image.Metadata.SectorBytes);
            }
            else if (image.Metadata.LeaveBlocksAllocated)
            {
                format = "vhdx/fixed";
            }

            return new VirtualDisk
            {
                Format = format,
                Content = new MappedSource(map, [image.Bytes], parent: parent?.Content),
                SectorBytes = image.Metadata.SectorBytes,
                Chain = [new ChainLink(file.Name, format), .. parent?.Chain ?? []],
                Identity = image.Header.DataWriteGuid.ToString("D"),
                Owned = parent is null ? [map, image] : [map, image, parent],
            };
        }
        catch
        {
            parent?.Dispose();
            map?.Dispose();
            image.Dispose();
            throw;
        }
    }

    private Image Load(ImageFile file, ReadContext context)
    {
        context.ThrowIfCancelled();
        if (!Probe(file))
        {
            throw new DiskFormatException(Fault.Corrupt, "VHDX File Type Identifier", 0, "bad Signature");
        }

        VhdxHeader header = VhdxHeader.ReadCurrent(file.Bytes, context.Budget);
        Bounds.Check(header.LogOffset, header.LogLength, file.Bytes.Length, "VHDX log");
        ReplayedSource? replayed = header.LogGuid == Guid.Empty ? null : VhdxLog.Replay(file.Bytes, header, context);
        try
        {
            IBlockSource bytes = replayed ?? file.Bytes;
            RegionTable regions = RegionTable.Read(file, bytes, new Region(header.LogOffset, header.LogLength), context);
            MetadataTable metadata = MetadataTable.Read(bytes, regions.Metadata, context);
            return new Image(bytes, replayed, header, regions, metadata);
        }
        catch
        {
            replayed?.Dispose();
            throw;
        }
    }

    /// <summary>2.6.2.6.3: the parent's DataWriteGuid is one of the two linkages; 2.6.2.4: its logical sectors have the same size.</summary>
    private static void CheckParent(VirtualDisk parent, ParentLocator locator, int sectorBytes)
    {
        if (parent.Identity != locator.Linkage && parent.Identity != locator.Linkage2)
        {
            string second = locator.Linkage2 is null ? "" : $" or {locator.Linkage2}";
            throw new DiskFormatException(
                Fault.MissingParent,
                "VHDX Parent Locator",
                -1,
                $"the disk was made over {locator.Linkage}{second}; the parent found has the identity {(parent.Identity.Length == 0 ? "(none)" : parent.Identity)}");
        }

        if (parent.SectorBytes != sectorBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "VHDX Logical Sector Size", -1, $"{sectorBytes} here and {parent.SectorBytes} in the parent");
        }
    }

    /// <summary>A file's structures, and its bytes as they are after the log was replayed.</summary>
    private sealed record Image(IBlockSource Bytes, ReplayedSource? Replayed, VhdxHeader Header, RegionTable Regions, MetadataTable Metadata) : IDisposable
    {
        public void Dispose() => Replayed?.Dispose();
    }
}
