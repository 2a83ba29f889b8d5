using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>
/// The VHD of Virtual PC, Virtual Server, Hyper-V, Xen and Azure: fixed, dynamic and differencing (<c>.vhd</c>, <c>.avhd</c>, undo disks
/// <c>.vud</c>). Spec: Microsoft, Virtual Hard Disk Image Format Specification 1.0. A wrong checksum is a gap and what can be read is
/// read; a parent is opened through the resolver and must have the unique id that the header names.
/// </summary>
public sealed class VhdFormat : IContainerFormat
{
    public string Name => "vhd";

    public FormatSupport Support { get; } = new(
        "Virtual PC and Xen VHD",
        "fixed, dynamic and differencing (.vhd, .avhd, .vud), unique id of parents checked");

    public bool Probe(ImageFile file) => VhdFooter.IsThere(file.Bytes);

    public IReadOnlyList<ImageReference> References(ImageFile file)
    {
        var gaps = new GapList();
        VhdFooter footer = VhdFooter.Read(file, gaps, out _);
        return footer.Type == VhdType.Differencing ? [Reference(DynamicDiskHeader.Read(file, footer, gaps))] : [];
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        VhdFooter footer = VhdFooter.Read(file, context.Gaps, out long dataEnd);
        string identity = footer.UniqueId.ToString("D");
        if (footer.Type == VhdType.Fixed)
        {
            const string Fixed = "vhd/fixed";
            Bounds.Check(0, footer.DiskBytes, dataEnd, "VHD fixed disk");
            return new VirtualDisk
            {
                Format = Fixed,
                Content = new SliceSource(file.Bytes, 0, footer.DiskBytes, "VHD fixed disk"),
                Chain = [new ChainLink(file.Name, Fixed)],
                Identity = identity,
            };
        }

        DynamicDiskHeader header = DynamicDiskHeader.Read(file, footer, context.Gaps);
        string format = header.Parent is null ? "vhd/dynamic" : "vhd/differencing";
        VirtualDisk? parent = header.Parent is null ? null : chain.OpenParent(file, Reference(header));
        try
        {
            CheckParent(parent, header);
            var map = new VhdMap(file, header, footer.DiskBytes, dataEnd, context);
            return new VirtualDisk
            {
                Format = format,
                Content = new MappedSource(map, [file.Bytes], parent: parent?.Content),
                Chain = [new ChainLink(file.Name, format), .. parent?.Chain ?? []],
                Identity = identity,
                Owned = parent is null ? [map] : [map, parent],
            };
        }
        catch
        {
            parent?.Dispose();
            throw;
        }
    }

    private static ImageReference Reference(DynamicDiskHeader header) => new(ReferenceKind.Parent, header.Parent!.Names);

    /// <summary>"Identification of the Parent Hard Disk Image": by its Unique ID. Its size may be another.</summary>
    private static void CheckParent(VirtualDisk? parent, DynamicDiskHeader header)
    {
        if (parent is not null && parent.Identity != header.Parent!.UniqueId.ToString("D"))
        {
            throw new DiskFormatException(
                Fault.MissingParent,
                DynamicDiskHeader.Name,
                header.At,
                $"the disk was made over {header.Parent.UniqueId:D}; the parent found has the identity {(parent.Identity.Length == 0 ? "(none)" : parent.Identity)}");
        }
    }
}
