using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Worker;

/// <summary>The kernel's limits that a worker puts on itself before it reads a guest's byte. They cannot be raised again.</summary>
internal static partial class ResourceLimits
{
    private const int Cpu = 0;
    private const int FileSize = 1;
    private const int Data = 2;
    private const int Core = 4;

    /// <summary>What the runtime, its compiled code and thread stacks need beside the heap.</summary>
    private const long RuntimeBytes = 768L << 20;

    /// <summary>Applies the limits; answers what the kernel refused, empty when nothing.</summary>
    /// <param name="mayWriteFiles">Its standard output may be a file of the user's.</param>
    public static IReadOnlyList<string> Apply(WorkerLimits limits, bool mayWriteFiles)
    {
        List<string> refused = [];
        Set(Cpu, "processor time", limits.CpuSeconds);
        Set(Core, "core dumps", 0);
        if (!mayWriteFiles)
        {
            Set(FileSize, "file size", 0);
        }

        Set(Data, "data", limits.HeapBytes + RuntimeBytes);
        return refused;

        void Set(int resource, string name, long value)
        {
            var limit = new RLimit { Current = (ulong)value, Maximum = (ulong)value };
            if (SetRLimit(resource, in limit) != 0)
            {
                refused.Add($"{name}: {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "setrlimit", SetLastError = true)]
    private static partial int SetRLimit(int resource, in RLimit limit);

    private struct RLimit
    {
        public ulong Current;
        public ulong Maximum;
    }
}
