using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vdi;

/// <summary>
/// VirtualBox's VDI, header version 1: dynamic, fixed and differencing. Spec: see <see cref="VdiHeader"/>. A differencing VDI names its
/// parent by UUID alone.
/// </summary>
public sealed class VdiFormat : IIdentifiedFormat
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

    public string IdentityOf(ImageFile file) => VdiHeader.Read(file.Bytes).Create.ToString("D");

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        var header = VdiHeader.Read(file.Bytes);
        string format = header.HasParent ? "vdi/differencing" : header.Type == VdiType.Fixed ? "vdi/fixed" : "vdi/dynamic";
        VirtualDisk? parent = header.HasParent ? chain.OpenParent(file, Reference(header)) : null;
        try
        {
            CheckParent(file, parent, header, context.Gaps);
            var map = new VdiMap(file.Bytes, header, context.Budget);
            return new VirtualDisk
            {
                Format = format,
                Content = new MappedSource(map, [file.Bytes], parent: parent?.Content),
                Chain = [new ChainLink(file.Name, format), .. parent?.Chain ?? []],
                Identity = header.Create.ToString("D"),
                Revisions = [header.Modify.ToString("D")],
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
    /// The header has no file name. VirtualBox calls the images of snapshots by their own UUID; a base has a name of its own and is looked
    /// for by the UUID in its header. Whatever is found must have that UUID.
    /// </summary>
    private static ImageReference Reference(VdiHeader header) =>
        new(ReferenceKind.Parent, [$"{{{header.Linkage:D}}}.vdi"]) { Identity = header.Linkage.ToString("D") };

    /// <summary>uuidLinkage is the parent's uuidCreate, uuidParentModify what its uuidModify was when this disk was made.</summary>
    private static void CheckParent(ImageFile file, VirtualDisk? parent, VdiHeader header, IGapSink gaps)
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

        // The parent it was made over, but no longer as it was: VirtualBox reads both together all the same, and so must a scan.
        if (parent is { Revisions.Count: > 0 } && header.ParentModify != Guid.Empty && !parent.Revisions.Contains(header.ParentModify.ToString("D")))
        {
            gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, VdiHeader.Name, 440, 0, "its parent was written to after the disk was made over it; both are read together, as VirtualBox does"));
        }
    }
}
