using Vmsweep.Appliance.Pipeline;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>The disks of a job that could be opened. One that cannot be is a gap, and the others are still read.</summary>
internal sealed class OpenedDisks : IDisposable
{
    private readonly List<ChainOpener> _chains = [];
    private readonly List<(OpenedDisk Disk, int Index)> _disks = [];
    private bool _handedOver;

    public IReadOnlyList<OpenedDisk> Disks => [.. _disks.Select(d => d.Disk)];

    public void Open(VmJob job, int index, ReadContext context, EventWriter writer)
    {
        ChainPlan plan = job.Disks[index];
        string image = plan.Files[0].Name;
        var chain = new ChainOpener(plan, context, index * ChainPlanner.MostFiles);
        _chains.Add(chain);
        try
        {
            VirtualDisk disk = chain.OpenDisk();
            if (job is ScanJob { Tracing: not null } or ScanJob { Layers: not null })
            {
                disk = disk with { Content = new DiskSource(disk.Content, index, job is ScanJob { Layers: not null }) };
            }

            _disks.Add((new OpenedDisk(disk, image, DiskBinds.Prefix(index, job.Disks.Count)), index));
            if (chain.Disagreement is { } says && job is ScanJob)
            {
                writer.Send(new FindingEvent(HostileImage.FormatDisagrees(image, chain.Top.Bytes.Length, plan.Declared ?? "raw", says)));
            }
        }
        catch (DiskFormatException e)
        {
            writer.Add(new CoverageGap(e, image, chain.Top.Bytes.Length));
        }
        catch (Exception e) when (e is not (JobFailedException or OutOfMemoryException))
        {
            WorkerMain.Report(e, image, writer);
        }
    }

    /// <summary>The disks, for an owner that disposes them.</summary>
    public IReadOnlyList<OpenedDisk> HandOver()
    {
        _handedOver = true;
        return Disks;
    }

    /// <summary>Which of the job's disks it is.</summary>
    public int IndexOf(OpenedDisk disk) => _disks.Find(d => d.Disk == disk).Index;

    public void Dispose()
    {
        if (!_handedOver)
        {
            _disks.ForEach(d => d.Disk.Disk.Dispose());
        }

        _chains.ForEach(c => c.Dispose());
    }
}
