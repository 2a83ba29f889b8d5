using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// Which file an image may lie over: the one that the host itself names below it, and only where the image names it too. A name from an image is compared
/// and never opened.
/// </summary>
/// <param name="chain">The disk's files as the host names them, the top one first.</param>
/// <param name="live">Files that the running VM writes to.</param>
internal sealed class HostChainPolicy(IReadOnlyList<HostPath> chain, IReadOnlySet<HostPath> live, Func<HostPath, (string? Path, Fault Fault, string Why)> open) : IReferencePolicy
{
    /// <summary>Names that lead where no file of this disk lies.</summary>
    public List<string> Refused { get; } = [];

    public ReferenceAnswer Resolve(string fromPath, ImageReference reference)
    {
        int at = chain.ToList().FindIndex(p => p.ToString() == fromPath);
        if (reference.Kind != ReferenceKind.Parent || at < 0 || at + 1 >= chain.Count)
        {
            return Refuse(reference, "the host has nothing below this image");
        }

        HostPath parent = chain[at + 1];
        if (live.Contains(parent))
        {
            return Refuse(reference, "it is what the running VM writes to");
        }

        if (!reference.Candidates.Any(c => c[(c.LastIndexOfAny(['\\', '/']) + 1)..].Equals(parent.Name, StringComparison.OrdinalIgnoreCase)))
        {
            return Refuse(reference, $"the host has {parent} below this image");
        }

        (string? path, Fault fault, string why) = open(parent);
        return path is null ? new ReferenceAnswer(null, fault, why) : new ReferenceAnswer(null, File: new PlannedFile(0, parent.ToString(), path));
    }

    private ReferenceAnswer Refuse(ImageReference reference, string why)
    {
        Refused.Add(reference.Display);
        return new ReferenceAnswer(null, Fault.Refused, $"\"{reference.Display}\" is not opened: {why}");
    }
}
