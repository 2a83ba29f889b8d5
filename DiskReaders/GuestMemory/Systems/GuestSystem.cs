using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory.Paging;

namespace Vmsweep.DiskReaders.GuestMemory.Systems;

/// <summary>A process of a guest. Guest text.</summary>
public sealed record GuestProcess(string Name, long Pid);

/// <summary>Where a page is mapped.</summary>
/// <param name="Process">The process whose address it is; the kernel for addresses of the kernel.</param>
/// <param name="IsKernel">An address of the kernel, the same in every process.</param>
public sealed record MappedPage(GuestProcess Process, ulong Address, bool IsKernel);

/// <summary>
/// What memory says of the system in it: found by structures that agree with each other, without symbols or registers. The guest wrote all of it
/// and may lie; it decides nothing but what findings are called.
/// </summary>
public sealed class GuestSystem
{
    private readonly GuestMemoryImage _memory;
    private readonly ReadContext _context;
    private readonly ulong _root;
    private readonly int _levels;
    private readonly IReadOnlyList<(GuestProcess Process, ulong Root)> _processes;
    private readonly GuestProcess _kernel;

    internal GuestSystem(
        GuestMemoryImage memory, ReadContext context, string kind, string version, VirtualSpace kernel, GuestProcess kernelProcess, IReadOnlyList<(GuestProcess Process, ulong Root)> processes)
    {
        _memory = memory;
        _context = context;
        _root = kernel.Root;
        _levels = kernel.Levels;
        _kernel = kernelProcess;
        _processes = processes;
        Kind = kind;
        Version = version;
    }

    /// <summary>Most processes that are looked through.</summary>
    internal const int MostProcesses = 32_768;

    /// <summary><c>linux</c> or <c>windows</c>.</summary>
    public string Kind { get; }

    /// <summary>As the kernel says it; empty where it does not. Guest text.</summary>
    public string Version { get; }

    /// <summary>Processes with memory of their own, by pid.</summary>
    public IReadOnlyList<GuestProcess> Processes => [.. _processes.Select(p => p.Process)];

    /// <summary>Looks for a system; null where none is found.</summary>
    public static GuestSystem? Find(GuestMemoryImage memory, ReadContext context)
    {
        var survey = MemorySurvey.Make(memory, context);
        using var reader = new PhysicalReader(memory, context);
        return new LinuxTasks(memory, reader, survey, context).Find() ?? new WindowsProcesses(memory, reader, survey, context).Find();
    }

    /// <summary>Where pages are mapped, addresses of processes before those of the kernel. Pages that are mapped nowhere are left out.</summary>
    /// <param name="pages">Physical addresses of pages.</param>
    public IReadOnlyDictionary<long, IReadOnlyList<MappedPage>> Locate(IEnumerable<long> pages)
    {
        using var reader = new PhysicalReader(_memory, _context);
        SearchedSpace[] spaces = [.. _processes.Select(p => new SearchedSpace(p.Root, false)), new SearchedSpace(_root, true)];
        return new AddressSearch(reader, _levels).Find(spaces, pages).ToDictionary(
            f => f.Key,
            f => (IReadOnlyList<MappedPage>)[.. f.Value.OrderBy(m => m.Space).Select(m => m.Space < _processes.Count ? new MappedPage(_processes[m.Space].Process, m.Address, false) : new MappedPage(_kernel, m.Address, true))]);
    }
}
