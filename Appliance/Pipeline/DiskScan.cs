using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Matches everything on a disk.</summary>
internal static class DiskScan
{
    public static void Run(ScanJob job, InspectedDisk disk, ReadContext context, EventWriter writer)
    {
        var progress = new ProgressReporter(writer);
        DiskContents contents = DiskContents.Collect(disk, job.Prefix, context, progress.Step);
        using Engines engines = Engines.Load(job);
        try
        {
            progress.Begin(contents.Coverage.Values, contents.TotalBytes);
            var shared = new MatchShared(engines, f => writer.Send(new FindingEvent(f)), context.Gaps, context.Cancellation);
            using var buffers = new ContentBuffers(job.MemoryBytes);
            new ContentPump(buffers, job.Threads, engines.HashNeeds, context.Gaps, context.Cancellation)
                .Run(contents.Items, () => new MatchConsumer(shared, progress), windowsAreGaps: true);
        }
        finally
        {
            progress.Send();
        }
    }
}
