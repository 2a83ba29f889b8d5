using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>The files of a VM's memory, made before any of it is parsed: a worker sees exactly these.</summary>
/// <param name="Files">The file that tells, then what belongs to it.</param>
public sealed record MemoryPlan(IReadOnlyList<PlannedFile> Files)
{
    /// <summary>The state of a snapshot: those taken without memory have one too, and hold none.</summary>
    public bool MayBeEmpty { get; init; }

    /// <summary>Host's name of the first file.</summary>
    public string Image => Files[0].Name;
}

/// <summary>Guest memory with the files it lies in.</summary>
public sealed class OpenedMemory : IDisposable
{
    private readonly List<IBlockSource> _files;

    private OpenedMemory(GuestMemoryImage image, List<IBlockSource> files)
    {
        Image = image;
        _files = files;
    }

    public GuestMemoryImage Image { get; }

    /// <summary>Opens what a plan says; null for the state of a snapshot that has no memory.</summary>
    /// <exception cref="DiskFormatException">There is no memory that can be read.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    public static OpenedMemory? Open(MemoryPlan plan, ReadContext context)
    {
        List<IBlockSource> files = [];
        try
        {
            ReadContext placed = context with { Gaps = new PlacedGaps(context.Gaps, plan.Image) };
            foreach (PlannedFile file in plan.Files)
            {
                files.Add(PlannedFiles.Open(file, file.Id, placed));
            }

            return new OpenedMemory(MemoryFormats.Open([.. plan.Files.Zip(files, (p, f) => new MemoryFile(p.Name, f))], placed), files);
        }
        catch (DiskFormatException e) when (plan.MayBeEmpty && e.Fault == Fault.MissingParent)
        {
            files.ForEach(f => f.Dispose());
            return null;
        }
        catch
        {
            files.ForEach(f => f.Dispose());
            throw;
        }
    }

    public void Dispose()
    {
        Image.Dispose();
        _files.ForEach(f => f.Dispose());
    }
}
