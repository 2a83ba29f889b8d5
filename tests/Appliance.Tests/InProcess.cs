using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Tests;

/// <summary>Runs a worker's job in this process: the same code, without the time of starting a sandbox.</summary>
internal static class InProcess
{
    public static List<WorkerEvent> Run(VmJob job)
    {
        using var pipe = new MemoryStream();
        var writer = new EventWriter(pipe);
        WorkerMain.RunOnVm(job, writer);
        pipe.Position = 0;
        List<WorkerEvent> events = [];
        while (Frames.Read(pipe) is { } frame)
        {
            if (frame.Kind == FrameKind.Message)
            {
                events.Add(MessageText.Event(frame.Buffer.AsSpan(0, frame.Length)));
            }
        }

        return events;
    }

    public static VmDisk Disk(string path) => new TargetFinder([]).Find(path).Single().Disks.Single();

    /// <summary>All files with their hashes, and all gaps, those of the target itself first.</summary>
    public static List<WorkerEvent> List(string path)
    {
        Vm vm = new TargetFinder([]).Find(path).Single();
        return [.. vm.Gaps.Select(g => new GapEvent(g)), .. Run(new ListJob("", true, true, true, 1) { Limits = Limits, Disks = [.. vm.Disks.Select(d => d.Plan)] })];
    }

    /// <summary>The disks of the one VM or image of a target, as a job has them.</summary>
    public static IReadOnlyList<ChainPlan> Plans(string path) => [.. new TargetFinder([]).Find(path).Single().Disks.Select(d => d.Plan)];

    public static WorkerLimits Limits { get; } = new(512 << 20, 3600);

    public static IReadOnlyList<GapReport> Gaps(this IEnumerable<WorkerEvent> events) => [.. events.OfType<GapEvent>().Select(g => g.Gap)];

    public static IReadOnlyList<string> Lines(this IEnumerable<WorkerEvent> events) =>
        [.. events.OfType<EntriesEvent>().SelectMany(e => e.Entries).Select(e => $"{e.Path}\t{e.SizeBytes}\t{e.Sha256}")];
}
