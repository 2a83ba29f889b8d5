using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What workers on disks may use.</summary>
internal static class DiskLimits
{
    /// <summary>A day of processor time: reading 62 TB takes less.</summary>
    public static readonly WorkerLimits ForReading = new(ScanRun.WorkerHeapBytes, 24 * 3600);

    /// <summary>What deriving keys takes beyond: LUKS2 asks for up to 1 GiB by default, and the library for a little more.</summary>
    public static long ForKeys(IReadOnlyList<byte[]> secrets) => secrets.Count > 0 ? 1280L << 20 : 0;
}
