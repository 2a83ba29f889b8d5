using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>
/// Follows the names in images from a disk's top image down to its base, through a connector's policy, and writes down which
/// files the disk is made of. Parses only what holds names.
/// </summary>
public static class ChainPlanner
{
    /// <summary>Most files of one disk: a 62 TB disk in 2 GB extents has some 31,000, real ones have a few hundred.</summary>
    public const int MostFiles = 4096;

    /// <param name="path">Host path of the top image.</param>
    /// <param name="policy">Which names may open which files.</param>
    /// <param name="declared">The format that the inventory declares; null to go by extension and bytes.</param>
    /// <exception cref="IOException">The top image cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The top image may not be read.</exception>
    public static ChainPlan Plan(string path, IReferencePolicy policy, string? declared = null) =>
        Plan(new PlannedFile(0, path, path), policy, declared);

    /// <param name="top">The top image, which may lie inside another file.</param>
    /// <param name="policy">Which names may open which files.</param>
    /// <param name="declared">The format that the inventory declares; null to go by extension and bytes.</param>
    /// <param name="heads">Heads that were read for other disks, where many are planned; null to read them for this one.</param>
    /// <exception cref="IOException">The top image cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The top image may not be read.</exception>
    public static ChainPlan Plan(PlannedFile top, IReferencePolicy policy, string? declared = null, ImageHeads? heads = null)
    {
        List<PlannedFile> files = [top with { Id = 0 }];
        List<PlannedReference> references = [];
        var known = new Dictionary<string, int>(StringComparer.Ordinal) { [Path.GetFullPath(top.Name)] = 0 };
        var images = new Queue<(int Id, string? Declared)>([(0, declared)]);
        while (images.TryDequeue(out (int Id, string? Declared) image))
        {
            int id = image.Id;
            foreach (ImageReference reference in (heads?.Of(files[id], image.Declared) ?? ImageHeads.Read(files[id], image.Declared)).References)
            {
                ReferenceAnswer answer = policy.Resolve(files[id].Name, reference);
                if ((answer.File?.Name ?? answer.Path) is not { } found)
                {
                    references.Add(new PlannedReference(id, reference.Kind, reference.Candidates, -1, answer.Fault, answer.Detail));
                    continue;
                }

                if (!known.TryGetValue(found, out int to))
                {
                    if (files.Count >= MostFiles)
                    {
                        references.Add(new PlannedReference(id, reference.Kind, reference.Candidates, -1, Fault.Limit, $"the disk is made of more than {MostFiles} files"));
                        continue;
                    }

                    to = files.Count;
                    known.Add(found, to);
                    files.Add((answer.File ?? new PlannedFile(to, found, found)) with { Id = to });
                    if (reference.Kind == ReferenceKind.Parent)
                    {
                        images.Enqueue((to, reference.Format));
                    }
                }

                references.Add(new PlannedReference(id, reference.Kind, reference.Candidates, to) { Format = reference.Format });
            }
        }

        return new ChainPlan(declared ?? ContainerFormats.Declared(top.Name), files, references);
    }
}
