using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>A file that a disk is made of.</summary>
/// <param name="Id">Its number in the plan, from 0; 0 is the disk's top image.</param>
/// <param name="Name">The host's name of the file as reports show it.</param>
/// <param name="Path">Where to open it: on the host in the supervisor, inside the sandbox in a worker.</param>
/// <param name="OffsetBytes">Where it begins in that file: a member of an archive lies inside of it.</param>
/// <param name="LengthBytes">How long it is there; -1: to the end.</param>
/// <param name="IsGzip">Those bytes are a gzip file, and what it holds is the image.</param>
public sealed record PlannedFile(int Id, string Name, string Path, long OffsetBytes = 0, long LengthBytes = -1, bool IsGzip = false)
{
    /// <summary>What follows the first piece where a file was stored in chunks; packing is over all of them together.</summary>
    public IReadOnlyList<FilePiece> More { get; init; } = [];

    /// <summary>Then the path is the Unix socket of an NBD server, and this the export there.</summary>
    public PlannedExport? Export { get; init; }
}

/// <summary>An export of an NBD server.</summary>
/// <param name="SizeBytes">As the server said it to whoever planned the job.</param>
public sealed record PlannedExport(string Name, long SizeBytes);

/// <summary>Bytes of a file: all of it, or a range.</summary>
/// <param name="LengthBytes">-1: to the end.</param>
public sealed record FilePiece(string Path, long OffsetBytes = 0, long LengthBytes = -1);

/// <summary>What became of a name found in an image: the file it may open, or why it opens none.</summary>
/// <param name="From">The file that holds the name.</param>
/// <param name="Candidates">The names, as found.</param>
/// <param name="To">The file's number; -1 with <paramref name="Fault"/>.</param>
public sealed record PlannedReference(int From, ReferenceKind Kind, IReadOnlyList<string> Candidates, int To, Fault? Fault = null, string Detail = "")
{
    /// <summary>The format that the image says a parent has; null where it leaves it to the parent's name and bytes.</summary>
    public string? Format { get; init; }
}

/// <summary>
/// All files of one disk's chain and which name leads to which. Made before any guest content is parsed, so that a worker
/// sees exactly these files and can ask for no other.
/// </summary>
/// <param name="Declared">The format that inventory or extension declare; null when the bytes may tell.</param>
/// <param name="Member">The disk's name in an image that holds several (<see cref="IBundleFormat"/>); null elsewhere.</param>
public sealed record ChainPlan(string? Declared, IReadOnlyList<PlannedFile> Files, IReadOnlyList<PlannedReference> References, string? Member = null)
{
    /// <summary>The <see cref="ImageSnapshot.Id"/> of the state that is wanted of the top image; null: its current one.</summary>
    public string? Snapshot { get; init; }
}

/// <summary>The connector's rule for names found in images: which file a name may open.</summary>
public interface IReferencePolicy
{
    /// <summary>The host path a reference may open, or a fault (<see cref="Fault.MissingParent"/> or <see cref="Fault.Refused"/>) that says why none.</summary>
    /// <param name="fromPath">The image that holds the name, as <see cref="PlannedFile.Name"/>: its host path, or that of the archive and its name in it.</param>
    ReferenceAnswer Resolve(string fromPath, ImageReference reference);
}

/// <summary>A path, or a fault with its reason.</summary>
/// <param name="File">Which bytes, where they are not simply the whole file of that path; the planner numbers it.</param>
public readonly record struct ReferenceAnswer(string? Path, Fault Fault = default, string Detail = "", PlannedFile? File = null);
