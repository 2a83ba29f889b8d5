using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmsweep.Benchmarks.Measuring;

/// <summary>What one run of a command took.</summary>
/// <param name="Processor">User and system time of all its processes.</param>
/// <param name="PeakTogether">Largest sum of resident memory of its processes.</param>
/// <param name="PeakSingle">Largest resident memory of one of them.</param>
internal sealed record Cost(TimeSpan Elapsed, TimeSpan Processor, long PeakTogether, long PeakSingle, int Status);

/// <summary>Runs commands to their end and measures them, whatever processes they start.</summary>
internal static partial class Measured
{
    private const int SetChildSubreaper = 36;
    private const int ResourceUsageChildren = -1;
    private const int NoHang = 1;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    /// <summary>
    /// Processes that outlive their parent come to this one, so that their time is counted too: a supervisor kills its workers' sandbox.
    /// </summary>
    public static void Prepare()
    {
        if (PrCtl(SetChildSubreaper, 1, 0, 0, 0) != 0)
        {
            throw new InvalidOperationException("prctl(PR_SET_CHILD_SUBREAPER) failed");
        }
    }

    /// <summary>Runs a script of <c>bash</c>; its arguments are <c>$1</c> onwards.</summary>
    /// <param name="accept">Exit statuses that are no failure.</param>
    public static Cost Script(string script, IReadOnlyList<string> arguments, params int[] accept)
    {
        var start = new ProcessStartInfo("/bin/bash", ["-euo", "pipefail", "-c", script, "bash", .. arguments]) { RedirectStandardInput = true };
        start.Environment["LC_ALL"] = "C.UTF-8";
        TimeSpan before = ProcessorOfChildren();
        long began = Stopwatch.GetTimestamp();
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        var tree = new ProcessTree(process.Id);
        do
        {
            tree.Sample();
        }
        while (!process.WaitForExit(Interval));
        TimeSpan elapsed = Stopwatch.GetElapsedTime(began);
        CollectOrphans();
        // The kernel adds up the time of processes that were waited for. A worker in a process namespace that is killed as a whole
        // is not waited for; what was sampled has it.
        TimeSpan counted = ProcessorOfChildren() - before;
        var cost = new Cost(elapsed, counted > tree.Processor ? counted : tree.Processor, tree.PeakTogether, tree.PeakSingle, process.ExitCode);
        return cost.Status == 0 || accept.Contains(cost.Status)
            ? cost
            : throw new InvalidOperationException($"status {cost.Status} of: {script} {string.Join(' ', arguments.Take(12))}");
    }

    private static void CollectOrphans()
    {
        for (int tries = 0; tries < 100; tries++)
        {
            int process;
            while ((process = WaitPid(-1, 0, NoHang)) > 0)
            {
            }

            if (process < 0)
            {
                return;
            }

            Thread.Sleep(Interval);
        }
    }

    /// <summary><c>getrusage(2)</c>: two timeval, then fields that are not used here.</summary>
    private static TimeSpan ProcessorOfChildren()
    {
        Span<long> usage = stackalloc long[18];
        if (GetRUsage(ResourceUsageChildren, ref MemoryMarshal.GetReference(usage)) != 0)
        {
            throw new InvalidOperationException("getrusage failed");
        }

        return TimeSpan.FromSeconds(usage[0] + usage[2]) + TimeSpan.FromMicroseconds(usage[1] + usage[3]);
    }

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int PrCtl(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport("libc", EntryPoint = "getrusage")]
    private static partial int GetRUsage(int who, ref long usage);

    [LibraryImport("libc", EntryPoint = "waitpid")]
    private static partial int WaitPid(int process, nint status, int options);
}
