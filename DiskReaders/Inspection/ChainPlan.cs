using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>A file that a disk is made of.</summary>
/// <param name="Id">Its number in the plan, from 0; 0 is the disk's top image.</param>
/// <param name="Name">The host's name of the file as reports show it.</param>
/// <param name="Path">Where to open it: on the host in the supervisor, inside the sandbox in a worker.</param>
public sealed record PlannedFile(int Id, string Name, string Path);

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
public sealed record ChainPlan(string? Declared, IReadOnlyList<PlannedFile> Files, IReadOnlyList<PlannedReference> References)
{
    /// <summary>The <see cref="ImageSnapshot.Id"/> of the state that is wanted of the top image; null: its current one.</summary>
    public string? Snapshot { get; init; }
}

/// <summary>The connector's rule for names found in images: which file a name may open.</summary>
public interface IReferencePolicy
{
    /// <summary>The host path a reference may open, or a fault (<see cref="Fault.MissingParent"/> or <see cref="Fault.Refused"/>) that says why none.</summary>
    /// <param name="fromPath">Host path of the image that holds the name.</param>
    ReferenceAnswer Resolve(string fromPath, ImageReference reference);
}

/// <summary>A path, or a fault with its reason.</summary>
public readonly record struct ReferenceAnswer(string? Path, Fault Fault = default, string Detail = "");
