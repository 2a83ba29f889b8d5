using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.GuestMemory.Systems;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Worker;

/// <summary>What a worker does with a VM's memory: matches it, or tells what it is. Whatever happens there leaves the disks as they were read.</summary>
internal static class MemoryWork
{
    public static void Run(VmJob job, MemoryPlan plan, EventWriter writer, PaceGate? gate)
    {
        var progress = new ProgressReporter(writer);
        gate?.Tell(progress.Step);
        var context = new ReadContext(new ScanBudget(job.Limits.HeapBytes), writer) { OnStep = progress.Step, Gate = gate };
        try
        {
            using var memory = OpenedMemory.Open(plan, context);
            if (memory is null)
            {
                return;
            }

            MemoryReport report = Report(plan.Image, memory.Image);
            writer.Send(new MemoryEvent(report));
            if (job is ScanJob scan)
            {
                MemoryScan.Run(scan, memory.Image, report, context, writer, progress);
            }
            else if (job is InfoJob && GuestSystem.Find(memory.Image, context) is { } system)
            {
                writer.Send(new MemoryEvent(report with { System = Report(system) }));
            }
        }
        catch (DiskFormatException e)
        {
            writer.Add(new CoverageGap(e, plan.Image, plan.Files.Sum(f => new FileInfo(f.Path) is { Exists: true } file ? file.Length : 0)));
        }
        catch (Exception e) when (e is not (JobFailedException or OutOfMemoryException))
        {
            WorkerMain.Report(e, plan.Image, writer);
        }
    }

    public static MemorySystemReport Report(GuestSystem system) =>
        new(system.Kind, system.Version.Length <= GuestFacts.MostText ? system.Version : system.Version[..GuestFacts.MostText], system.Processes.Count);

    private static MemoryReport Report(string image, GuestMemoryImage memory) => new()
    {
        Path = image,
        Format = memory.Format,
        SizeBytes = memory.SizeBytes,
        Regions = [.. memory.Runs.Take(MemoryReport.MostRegions).Select(r => new RegionReport(r.Address, r.Length))],
        Notes = [.. memory.Notes.Select(n => n.Length <= GuestFacts.MostText ? n : n[..GuestFacts.MostText])],
    };
}
