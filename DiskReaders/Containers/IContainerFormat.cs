using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers;

/// <summary>One file of a virtual disk, already opened by the resolver.</summary>
/// <param name="Name">The host's name of the file, for messages and for the report.</param>
/// <param name="Id">Names the file towards the resolver.</param>
/// <param name="Bytes">The file's bytes. Owned by who opened it.</param>
public sealed record ImageFile(string Name, int Id, IBlockSource Bytes)
{
    /// <summary>When the file was last written to; null when that is not known.</summary>
    public DateTimeOffset? Modified { get; init; }
}

/// <summary>Why an image names another file.</summary>
public enum ReferenceKind
{
    /// <summary>A part of the same disk, such as a VMDK extent. Its bytes have no header of their own meaning unless the format says so.</summary>
    Extent,

    /// <summary>The image this one was made over.</summary>
    Parent,
}

/// <summary>A file that an image names. It is only ever given to the resolver.</summary>
/// <param name="Kind">Why it is named.</param>
/// <param name="Candidates">
/// The names as the image has them, best first: a VMDK extent has one; a VHDX parent locator has a relative and an absolute path.
/// Guest-controlled text.
/// </param>
/// <param name="Format">
/// The format that the image says a parent has, by <see cref="IContainerFormat.Name"/>; null where it leaves it to the parent's name and bytes.
/// A parent declared raw is not probed.
/// </param>
public sealed record ImageReference(ReferenceKind Kind, IReadOnlyList<string> Candidates, string? Format = null)
{
    /// <summary>The <see cref="VirtualDisk.Identity"/> that a parent must have, where it is known by that rather than by a name; null otherwise.</summary>
    public string? Identity { get; init; }

    /// <summary>How the reference is written in messages.</summary>
    public string Display => Candidates.Count == 0 ? "(no name)" : Candidates[0];
}

/// <summary>
/// Opens what an image names, under the connector's rules: the same VM folder, or a base that was declared. Nothing else that an image
/// names is ever opened.
/// </summary>
public interface IChainOpener
{
    /// <summary>Resolves and opens an extent as plain bytes.</summary>
    /// <exception cref="DiskFormatException"><see cref="Fault.MissingParent"/> or <see cref="Fault.Refused"/>.</exception>
    ImageFile OpenExtent(ImageFile from, ImageReference reference);

    /// <summary>Resolves and opens a parent of whatever format, with the chain below it. Bounds the depth and refuses cycles.</summary>
    /// <exception cref="DiskFormatException">As above, or the parent is faulty.</exception>
    VirtualDisk OpenParent(ImageFile from, ImageReference reference);

    /// <summary>Opens LUKS inside an image format with the operator's secrets. Formats of volumes are not known here.</summary>
    /// <param name="header">The LUKS header with its key material.</param>
    /// <param name="payload">The encrypted bytes, sectors numbered from its start; null where they lie behind the header, as it says itself. Not disposed with the answer.</param>
    /// <exception cref="DiskFormatException"><see cref="Fault.Encrypted"/>: no secret fits; or the header is faulty.</exception>
    IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload);
}

/// <summary>An opened virtual disk: its content as the guest reads it.</summary>
public sealed record VirtualDisk : IDisposable
{
    /// <summary>Format and variant, such as <c>vmdk/monolithicSparse</c>.</summary>
    public required string Format { get; init; }

    /// <summary>The guest's view of the disk, through the whole chain.</summary>
    public required IBlockSource Content { get; init; }

    /// <summary>Logical sector size in bytes that the guest sees: 512 or 4096.</summary>
    public int SectorBytes { get; init; } = 512;

    /// <summary>This image first, its base last.</summary>
    public required IReadOnlyList<ChainLink> Chain { get; init; }

    /// <summary>The identity a child checks, in the format's own terms (VMDK CID, VHDX DataWriteGuid); empty where it has none.</summary>
    public string Identity { get; init; } = "";

    /// <summary>
    /// What a child may have noted to see whether this image was written to since (VDI uuidModify, the times of a VHD); empty where the format
    /// has nothing of the kind.
    /// </summary>
    public IReadOnlyList<string> Revisions { get; init; } = [];

    /// <summary>Disposed with the disk, in order: maps, caches, parents.</summary>
    public IReadOnlyList<IDisposable> Owned { get; init; } = [];

    public void Dispose()
    {
        Content.Dispose();
        foreach (IDisposable owned in Owned)
        {
            owned.Dispose();
        }
    }
}

/// <summary>One image of a chain.</summary>
public sealed record ChainLink(string Path, string Format);

/// <summary>A virtual disk format: recognises, names what else is needed, opens.</summary>
public interface IContainerFormat
{
    /// <summary>Short name: <c>vmdk</c>, <c>vhdx</c>.</summary>
    string Name { get; }

    /// <summary>What is read of it.</summary>
    FormatSupport Support => new(Name, "");

    /// <summary>True when the file's own bytes say that it is of this format. Never throws for content.</summary>
    bool Probe(ImageFile file);

    /// <summary>The files this image names, read from headers and descriptor alone. What the supervisor needs before a worker starts.</summary>
    /// <exception cref="DiskFormatException">The part that holds the names is faulty.</exception>
    IReadOnlyList<ImageReference> References(ImageFile file);

    /// <summary>Opens the disk. Everything that has a checksum or bound is verified before it is believed.</summary>
    /// <exception cref="DiskFormatException">The image is faulty, or a part of the chain is missing, refused or another one.</exception>
    VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context);
}

/// <summary>A format whose images are known by an identity in the header, by which children name their parent.</summary>
public interface IIdentifiedFormat : IContainerFormat
{
    /// <summary>The <see cref="VirtualDisk.Identity"/> that the image has, read from its header alone.</summary>
    /// <exception cref="DiskFormatException">The header is faulty.</exception>
    string IdentityOf(ImageFile file);
}

/// <summary>A state of a disk that its own image file keeps beside the current one.</summary>
/// <param name="Id">The format's own key: a qcow2 snapshot id, a Parallels GUID.</param>
/// <param name="Name">As the operator named it; empty where it has none. Guest-controlled text.</param>
/// <param name="Created">When it was taken; null where the format does not say.</param>
public sealed record ImageSnapshot(string Id, string Name, DateTimeOffset? Created);

/// <summary>A format that keeps earlier states of a disk inside the image itself.</summary>
public interface ISnapshotFormat : IContainerFormat
{
    /// <summary>The states kept, oldest first, read from tables of names alone.</summary>
    /// <exception cref="DiskFormatException">The table is faulty.</exception>
    IReadOnlyList<ImageSnapshot> Snapshots(ImageFile file);

    /// <summary>Opens the disk as it was.</summary>
    /// <param name="id">An <see cref="ImageSnapshot.Id"/>.</param>
    /// <exception cref="DiskFormatException">The image is faulty, or it keeps no such state.</exception>
    VirtualDisk OpenSnapshot(ImageFile file, string id, IChainOpener chain, ReadContext context);
}

/// <summary>What the head of a bundle tells, before any of its disks is opened. All of it is guest-controlled text.</summary>
/// <param name="VmName">As the operator named it; empty where the file does not say.</param>
/// <param name="GuestOs">In the hypervisor's own words; empty where the file does not say.</param>
/// <param name="Disks">Names of the disks, each once, in the VM's order.</param>
public sealed record BundleHead(string VmName, string GuestOs, IReadOnlyList<string> Disks);

/// <summary>A format that keeps several disks of a VM in one file: XVA, VMA.</summary>
public interface IBundleFormat : IContainerFormat
{
    /// <summary>Which disks the file holds, read from its head alone.</summary>
    /// <exception cref="DiskFormatException">The head is faulty.</exception>
    BundleHead Head(ImageFile file);

    /// <summary>Opens one of the disks. <see cref="IContainerFormat.Open"/> opens the only one, and refuses where there are several.</summary>
    /// <param name="disk">One of <see cref="BundleHead.Disks"/>.</param>
    VirtualDisk OpenDisk(ImageFile file, string disk, IChainOpener chain, ReadContext context);
}
