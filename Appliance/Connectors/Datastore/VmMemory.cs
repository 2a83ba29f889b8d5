using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>The memory of a VM that is suspended, or of a snapshot, or a dump of it.</summary>
/// <param name="Path">Host path of the file that tells.</param>
internal sealed record VmMemory(string Path, MemoryPlan Plan)
{
    /// <summary>Extensions of VMware's states, and of the file of memory that may lie beside one.</summary>
    private static readonly string[] States = [".vmss", ".vmsn"];
    private const string MemoryFile = ".vmem";

    /// <summary>Hyper-V keeps memory and state apart.</summary>
    private const string SavedState = ".vsv";
    private const string SavedMemory = ".bin";

    /// <summary>A file of memory with what lies beside it under the same name.</summary>
    /// <param name="path">Host path, which the appliance or its operator chose.</param>
    public static VmMemory Of(string path)
    {
        string extension = System.IO.Path.GetExtension(path);
        string[] files = extension.ToLowerInvariant() switch
        {
            MemoryFile when States.Select(e => Beside(path, e)).FirstOrDefault(s => s is not null) is { } state => [state, path],
            ".vmss" or ".vmsn" when Beside(path, MemoryFile) is { } memory => [path, memory],
            SavedMemory when Beside(path, SavedState) is { } state => [state, path],
            SavedState when Beside(path, SavedMemory) is { } memory => [path, memory],
            _ => [path],
        };
        return new VmMemory(files[0], new MemoryPlan([.. files.Select((f, i) => new PlannedFile(i, f, f))]));
    }

    /// <summary>The memory that a configuration names; a gap where it is not there or may not be opened.</summary>
    public static VmMemory? Named(string configuration, string name, IReferencePolicy policy, List<GapReport> gaps)
    {
        ReferenceAnswer answer = policy.Resolve(configuration, new ImageReference(ReferenceKind.Parent, [name]));
        if (answer.Path is { } path)
        {
            return Of(path);
        }

        gaps.Add(new CoverageGap(answer.Fault, name, "saved state", -1, 0, answer.Detail).ToReport());
        return null;
    }

    /// <summary>True for a file that is taken for guest memory: by its extension, or where that tells nothing by its first bytes.</summary>
    public static bool Is(string path)
    {
        string extension = System.IO.Path.GetExtension(path);
        if (MemoryFormats.Extensions.Contains(extension, StringComparer.OrdinalIgnoreCase)
            || (extension.Equals(SavedMemory, StringComparison.OrdinalIgnoreCase) && Beside(path, SavedState) is not null))
        {
            return true;
        }

        if (ContainerFormats.Declared(path) is not null)
        {
            return false;
        }

        try
        {
            using var file = new FileSource(path);
            return MemoryFormats.IsMemory(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string? Beside(string path, string extension)
    {
        string other = System.IO.Path.ChangeExtension(path, extension);
        return HostFile.KindOf(other) == HostFileKind.Regular ? other : null;
    }
}
