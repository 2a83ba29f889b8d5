using System.Text.Json;
using Serilog;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>The worker process: takes one job from standard input, answers on standard output, ends.</summary>
internal static class WorkerMain
{
    public static int Run()
    {
        using Stream input = Console.OpenStandardInput();
        using Stream output = Console.OpenStandardOutput();
        // Nothing but frames may reach the supervisor's pipe.
        Console.SetOut(Console.Error);
        var writer = new EventWriter(output);
        WorkerJob job = ReadJob(input);
        foreach (string refused in ResourceLimits.Apply(job.Limits))
        {
            Console.Error.WriteLine($"limit not set: {refused}");
        }

        SystemCallFilter.Apply();
        try
        {
            Dispatch(job, writer);
            writer.Send(new DoneEvent());
        }
        catch (JobFailedException e)
        {
            writer.Send(new FailedEvent(e.Message));
        }

        writer.Flush();
        return 0;
    }

    private static WorkerJob ReadJob(Stream input)
    {
        (FrameKind kind, byte[] buffer, int length) = Frames.Read(input) ?? throw new InvalidDataException("no job came");
        return kind == FrameKind.Message
            ? JsonSerializer.Deserialize(buffer.AsSpan(0, length), MessageJson.Default.WorkerJob) ?? throw new InvalidDataException("the job is empty")
            : throw new InvalidDataException("the job is no message");
    }

    internal static void Dispatch(WorkerJob job, EventWriter writer)
    {
        switch (job)
        {
            case CompileJob compile:
                RuleCompilation.Run(compile, writer);
                break;
            case DiskJob disk:
                RunOnDisk(disk, writer);
                break;
            default:
                throw new InvalidDataException($"unknown job {job.GetType().Name}");
        }
    }

    internal static void RunOnDisk(DiskJob job, EventWriter writer)
    {
        string image = job.Plan.Files[0].Name;
        var context = new ReadContext(new ScanBudget(job.Limits.HeapBytes), writer);
        using var chain = new ChainOpener(job.Plan, context);
        try
        {
            VirtualDisk disk = chain.OpenDisk();
            if (chain.Disagreement is { } says && job is ScanJob)
            {
                writer.Send(new FindingEvent(HostileImage.FormatDisagrees(image, chain.Top.Bytes.Length, job.Plan.Declared ?? "raw", says)));
            }

            if (job is ReadJob read)
            {
                using (disk)
                {
                    RawRead.Run(read, disk.Content, writer);
                }

                return;
            }

            using InspectedDisk inspected = DiskInspector.Inspect(disk, image, job.Prefix, context);
            Announce(inspected, writer);
            switch (job)
            {
                case ScanJob scan:
                    DiskScan.Run(scan, inspected, context, writer);
                    break;
                case ListJob list:
                    DiskListing.Run(list, inspected, context, writer);
                    break;
                case CatJob cat:
                    FileCopy.Run(cat, inspected, writer);
                    break;
            }
        }
        catch (DiskFormatException e)
        {
            writer.Add(new CoverageGap(e, image, chain.Top.Bytes.Length));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            writer.Add(new CoverageGap(Fault.Transport, image, "storage", -1, 0, e.Message));
        }
        catch (Exception e) when (e is not (JobFailedException or OutOfMemoryException))
        {
            // A reader let through what it must not. The disk is a gap like any other, and the log has the defect.
            Log.Error(e, "a defect of this program stopped {Image}", image);
            writer.Add(new CoverageGap(Fault.Corrupt, image, "image", -1, 0, $"reading it failed unexpectedly ({e.GetType().Name}: {e.Message})"));
        }
    }

    private static void Announce(InspectedDisk inspected, EventWriter writer)
    {
        writer.Send(new DiskEvent(
            inspected.Disk.Format,
            inspected.Disk.Content.Length,
            inspected.Disk.SectorBytes,
            inspected.Layout.Scheme,
            [.. inspected.Disk.Chain.Select(c => new ChainReport(c.Path, c.Format))]));
        foreach (InspectedVolume volume in inspected.Volumes)
        {
            writer.Send(new VolumeEvent(new VolumeReport
            {
                Id = volume.Id,
                Scheme = volume.Partition.Scheme,
                FileSystem = volume.Kind,
                Label = volume.FileSystem?.Facts.Label is { Length: > 0 } label ? label : volume.Partition.Label,
                Uuid = volume.FileSystem?.Facts.Id ?? "",
                PartitionType = volume.Partition.TypeName,
                OffsetBytes = volume.Partition.OffsetBytes,
                SizeBytes = volume.Partition.SizeBytes,
                Notes = volume.FileSystem?.Facts.Notes ?? [],
            }));
        }
    }
}

/// <summary>The job cannot be carried out as it was asked for; the message is for the user.</summary>
internal sealed class JobFailedException(string message) : Exception(message);
