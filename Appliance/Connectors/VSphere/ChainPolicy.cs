using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Which files the descriptors of a disk may name: a parent only where the hypervisor's own configuration has it in this disk's chain, an extent only in
/// its descriptor's folder. Names from an image never reach this machine's file system, nor another VM's files.
/// </summary>
/// <param name="chain">The disk's files as the hypervisor names them.</param>
/// <param name="live">Files that the running VM writes to: never opened.</param>
/// <param name="labels">Datastores by what stands for them in paths of a host (<c>/vmfs/volumes/LABEL/</c>).</param>
/// <param name="open">Makes a file readable.</param>
internal sealed class ChainPolicy(IReadOnlyList<string> chain, IReadOnlySet<string> live, IReadOnlyDictionary<string, string> labels, Func<DatastorePath, PlannedFile> open) : IReferencePolicy
{
    private const string Volumes = "/vmfs/volumes/";

    private readonly HashSet<string> _chain = [.. chain];

    /// <summary>Names that lead where no file of this disk may lie.</summary>
    public List<string> Refused { get; } = [];

    public ReferenceAnswer Resolve(string fromPath, ImageReference reference)
    {
        if (!DatastorePath.TryParse(fromPath, out DatastorePath from))
        {
            return Refuse(reference, "its own name leads nowhere");
        }

        foreach (string candidate in reference.Candidates)
        {
            if (Place(from, candidate) is not { } place)
            {
                continue;
            }

            string name = place.ToString();
            if (live.Contains(name))
            {
                return new ReferenceAnswer(null, Fault.Refused, $"{name} is what the running VM writes to; it is never read");
            }

            if (reference.Kind == ReferenceKind.Parent ? !_chain.Contains(name) : place.Folder != from.Folder || place.Datastore != from.Datastore)
            {
                continue;
            }

            try
            {
                return new ReferenceAnswer(null, File: open(place));
            }
            catch (IOException e)
            {
                return new ReferenceAnswer(null, Fault.MissingParent, e.Message);
            }
        }

        return Refuse(reference, reference.Kind == ReferenceKind.Parent ? "the hypervisor has no such file in this disk's chain" : "an extent lies beside its descriptor");
    }

    private ReferenceAnswer Refuse(ImageReference reference, string why)
    {
        Refused.Add(reference.Display);
        return new ReferenceAnswer(null, Fault.Refused, $"\"{reference.Display}\" is not opened: {why}");
    }

    /// <summary>Where a name of a descriptor leads; null for nowhere in a datastore.</summary>
    private DatastorePath? Place(DatastorePath from, string name)
    {
        if (name.StartsWith(Volumes, StringComparison.Ordinal))
        {
            string rest = name[Volumes.Length..];
            int slash = rest.IndexOf('/', StringComparison.Ordinal);
            return slash > 0 && labels.TryGetValue(rest[..slash], out string? datastore) && DatastorePath.TryMake(datastore, rest[(slash + 1)..], out DatastorePath absolute) ? absolute : null;
        }

        if (name.StartsWith('/'))
        {
            return null;
        }

        // A linked clone's parent may be written from its own folder: ../base/base.vmdk.
        string folder = from.Folder;
        while (name.StartsWith("../", StringComparison.Ordinal))
        {
            if (folder.Length == 0)
            {
                return null;
            }

            name = name[3..];
            folder = folder.LastIndexOf('/') is var cut && cut < 0 ? "" : folder[..cut];
        }

        return DatastorePath.TryMake(from.Datastore, folder.Length > 0 ? $"{folder}/{name}" : name, out DatastorePath beside) ? beside : null;
    }
}
