using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vdi;

/// <summary>
/// VirtualBox's VDI, header version 1: dynamic, fixed and differencing. Spec: see <see cref="VdiHeader"/>. A differencing VDI names its
/// parent by UUID alone.
/// </summary>
public sealed class VdiFormat : IContainerFormat
{
    public string Name => "vdi";

    public FormatSupport Support { get; } = new(
        "VirtualBox VDI",
        "dynamic, fixed and differencing, UUID of parents checked");

    public bool Probe(ImageFile file) => file.Bytes.HasAt(VdiHeader.SignatureAt, VdiHeader.Signature);

    public IReadOnlyList<ImageReference> References(ImageFile file)
    {
        var header = VdiHeader.Read(file.Bytes);
        return header.HasParent ? [Reference(header)] : [];
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        var header = VdiHeader.Read(file.Bytes);
        string format = header.HasParent ? "vdi/differencing" : header.Type == VdiType.Fixed ? "vdi/fixed" : "vdi/dynamic";
        VirtualDisk? parent = header.HasParent ? chain.OpenParent(file, Reference(header)) : null;
        try
        {
            CheckParent(parent, header);
            var map = new VdiMap(file.Bytes, header, context.Budget);
            return new VirtualDisk
            {
                Format = format,
                Content = new MappedSource(map, [file.Bytes], parent: parent?.Content),
                Chain = [new ChainLink(file.Name, format), .. parent?.Chain ?? []],
                Identity = header.Create.ToString("D"),
                Owned = parent is null ? [map] : [map, parent],
            };
        }
        catch
        {
            parent?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The header has no file name. VirtualBox calls the images of snapshots by their own UUID, so a parent that is one is found
    /// beside its child; a base of another name is missing by its UUID. Whatever is found must have that UUID.
    /// </summary>
    private static ImageReference Reference(VdiHeader header) => new(ReferenceKind.Parent, [$"{{{header.Linkage:D}}}.vdi"]);

    /// <summary>uuidLinkage is the parent's uuidCreate.</summary>
    private static void CheckParent(VirtualDisk? parent, VdiHeader header)
    {
        string linkage = header.Linkage.ToString("D");
        if (parent is not null && parent.Identity != linkage)
        {
            throw new DiskFormatException(
                Fault.MissingParent,
                VdiHeader.Name,
                424,
                $"the disk was made over {linkage}; the parent found has the identity {(parent.Identity.Length == 0 ? "(none)" : parent.Identity)}");
        }
    }
}
