using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Matches everything on a VM's disks.</summary>
internal static class DiskScan
{
    public static void Run(ScanJob job, InspectedVm vm, ReadContext context, EventWriter writer, ProgressReporter progress)
    {
        DiskContents contents = DiskContents.Collect(vm, context, progress.Step);
        using Engines engines = Engines.Load(job);
        using ArchiveContents archives = new(job.Archives, ArchiveContents.MemoryBytes(job.MemoryBytes), ArchiveContents.MostBytes(ImageBytes(job)), progress.Step);
        engines.Archives = archives;
        try
        {
            progress.Begin(contents.Coverage.Values, contents.TotalBytes);
            var shared = new MatchShared(engines, writer.Find, context.Gaps, context.Cancellation);
            using var buffers = new ContentBuffers(job.MemoryBytes);
            new ContentPump(buffers, job.Threads, engines.HashNeeds, context.Gaps, MostBytes(job), ContentPump.MostZerosOfScan, progress.Step, context.Cancellation)
                .Run(contents.Items, () => new MatchConsumer(shared, progress), windowsAreGaps: true);
            if (archives.Unopened > 0)
            {
                context.Gaps.Add(new CoverageGap(Fault.Limit, job.Disks[0].Files[0].Name, "archives", -1, 0, $"{archives.Unopened} files that hold others were matched but not opened, as asked for"));
            }
        }
        finally
        {
            progress.Send();
        }
    }

    /// <summary>
    /// What files may claim in all: sparse and compressed ones cost a guest next to nothing and this appliance hours. Sixteen times
    /// the image is the best that NTFS packs; the rest is room for sound sparse files.
    /// </summary>
    private static long MostBytes(ScanJob job) =>
        Saturating.Add(256L << 30, job.Disks.SelectMany(d => d.Files).Total(f => Math.Min(new FileInfo(f.Path).Length, long.MaxValue / 16) * 16));

    private static long ImageBytes(ScanJob job) => job.Disks.SelectMany(d => d.Files).Total(f => new FileInfo(f.Path).Length);
}
