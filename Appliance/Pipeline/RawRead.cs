using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>A disk's raw content.</summary>
internal static class RawRead
{
    public static void Run(ReadJob job, IBlockSource disk, EventWriter writer, ProgressReporter progress, ReadContext context)
    {
        if (job.Offset < 0 || job.Offset > disk.Length)
        {
            throw new JobFailedException($"offset {job.Offset} lies outside the disk's {disk.Length} bytes");
        }

        long left = disk.Length - job.Offset;
        if (job.Length > left)
        {
            throw new JobFailedException($"the disk has {left} bytes from offset {job.Offset}, not {job.Length}");
        }

        ContentCopy.Run(job, disk, job.Offset, job.Length < 0 ? left : job.Length, writer, progress, context);
    }
}
