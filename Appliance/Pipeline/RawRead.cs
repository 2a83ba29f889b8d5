using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>A disk's raw content as data frames.</summary>
internal static class RawRead
{
    private const int StepBytes = 1 << 20;

    public static void Run(ReadJob job, IBlockSource disk, EventWriter writer)
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

        Copy(disk, job.Offset, job.Length < 0 ? left : job.Length, writer);
    }

    /// <summary>Sends a range of a source.</summary>
    public static void Copy(IBlockSource source, long offset, long length, EventWriter writer)
    {
        byte[] buffer = new byte[Math.Min(StepBytes, Math.Max(1, length))];
        for (long end = offset + length; offset < end;)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, end - offset));
            source.Read(offset, part);
            writer.SendData(part);
            offset += part.Length;
        }
    }
}
