using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>A layer of a disk's chain.</summary>
/// <param name="Depth">How many layers are above it.</param>
/// <param name="File">The number of its top file in the plan.</param>
/// <param name="Format">As what it is opened: the image over it may say; empty where its bytes do.</param>
/// <param name="Files">Its files and those of all layers below, in the order in which they are found.</param>
internal sealed record PlannedLayer(int Depth, int File, string Format, IReadOnlyList<int> Files);

/// <summary>The layers of chains, and what proves that one is the same as at another time and in another VM's chain.</summary>
internal static class PlannedLayers
{
    /// <summary>The top image first. Ends where a chain is not whole, or not a line.</summary>
    public static IReadOnlyList<PlannedLayer> Of(ChainPlan plan)
    {
        List<PlannedLayer> layers = [];
        int top = 0;
        string? format = plan.Declared;
        while (true)
        {
            if (layers.Exists(l => l.File == top) || Closure(plan, [top], _ => true) is not { } all)
            {
                return layers;
            }

            layers.Add(new PlannedLayer(layers.Count, top, format ?? ContainerFormats.Declared(plan.Files[top].Name) ?? "", all));
            IReadOnlyList<int> own = Closure(plan, [top], r => r.Kind == ReferenceKind.Extent)!;
            PlannedReference[] parents = [.. plan.References.Where(r => r.Kind == ReferenceKind.Parent && own.Contains(r.From)).DistinctBy(r => (r.To, r.Format))];
            if (parents.Length != 1)
            {
                return layers;
            }

            (top, format) = (parents[0].To, parents[0].Format);
        }
    }

    /// <summary>
    /// A digest over what a layer's content, as a disk of its own, follows from: each file's name and state, what name in which of them leads to which, and as what
    /// each is opened: two images may open the same parent as different formats, and see different disks. Null where that cannot be proven.
    /// </summary>
    /// <exception cref="IOException">A file is gone.</exception>
    /// <exception cref="UnauthorizedAccessException">A file may not be read.</exception>
    public static byte[]? Identity(ChainPlan plan, PlannedLayer layer, IDictionary<string, byte[]?> states, DateTimeOffset now)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Append(hash, layer.Format);
        foreach (int id in layer.Files)
        {
            PlannedFile file = plan.Files[id];
            if (file.Export is not null || file.More.Count > 0 || (layer.File == 0 && (plan.Member ?? plan.Snapshot) is not null))
            {
                return null;
            }

            if (!states.TryGetValue(file.Path, out byte[]? state))
            {
                states.Add(file.Path, state = FileState.Of(file.Path, now));
            }

            if (state is null)
            {
                return null;
            }

            Append(hash, string.Create(CultureInfo.InvariantCulture, $"{file.Name}\0{file.OffsetBytes} {file.LengthBytes} {file.IsGzip}"));
            hash.AppendData(SHA256.HashData(state));
        }

        foreach (PlannedReference reference in plan.References.Where(r => layer.Files.Contains(r.From)).OrderBy(r => Place(r.From)).ThenBy(r => r.Kind).ThenBy(r => Place(r.To)))
        {
            Append(hash, string.Create(CultureInfo.InvariantCulture, $"{Place(reference.From)} {reference.Kind} {Place(reference.To)} {reference.Format}\0{string.Join('\0', reference.Candidates)}"));
        }

        return hash.GetHashAndReset();

        // Numbers of a plan differ from VM to VM.
        int Place(int file) => layer.Files.TakeWhile(f => f != file).Count();
    }

    /// <summary>The files that a parent of some disk is made of.</summary>
    public static IEnumerable<string> Parents(ChainPlan plan) =>
        plan.References.Where(r => r.Kind == ReferenceKind.Parent && r.To >= 0).Select(r => plan.Files[r.To].Path);

    /// <summary>Null where a name leads nowhere.</summary>
    private static List<int>? Closure(ChainPlan plan, List<int> files, Func<PlannedReference, bool> follows)
    {
        for (int i = 0; i < files.Count; i++)
        {
            foreach (PlannedReference reference in plan.References.Where(r => r.From == files[i] && follows(r)))
            {
                if (reference.To < 0)
                {
                    return null;
                }

                if (!files.Contains(reference.To))
                {
                    files.Add(reference.To);
                }
            }
        }

        return files;
    }

    private static void Append(IncrementalHash hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        hash.AppendData(BitConverter.GetBytes(bytes.Length));
        hash.AppendData(bytes);
    }
}
