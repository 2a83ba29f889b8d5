using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary>What workers of the reading commands may use.</summary>
internal static class DiskLimits
{
    /// <summary>A day of processor time: reading 62 TB takes less.</summary>
    public static readonly WorkerLimits ForReading = new(ScanRun.WorkerHeapBytes, 24 * 3600);
}
