using Serilog;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Worker;

/// <summary>The worker process: takes one job from standard input, answers on standard output, ends.</summary>
internal static class WorkerMain
{
    /// <summary>By how much the runtime may round the heap's limit up: a region.</summary>
    private const long HeapGranularity = 32L << 20;

    public static int Run()
    {
        Stream input = Console.OpenStandardInput();
        WorkerJob job = ReadJob(input);
        bool ownsOutput = job is VmJob { OwnsOutput: true };
        using Stream output = ownsOutput ? Console.OpenStandardError() : Console.OpenStandardOutput();
        // Nothing but frames may reach the supervisor's pipe, and nothing but content the user's output.
        Console.SetOut(ownsOutput ? TextWriter.Null : Console.Error);
        if (ownsOutput)
        {
            Console.SetError(TextWriter.Null);
        }

        var writer = new EventWriter(output);
        foreach (string refused in ResourceLimits.Apply(job.Limits, mayWriteFiles: ownsOutput))
        {
            Console.Error.WriteLine($"limit not set: {refused}");
        }

        // It came by the environment: where a runtime took no notice of it, a hostile image would have the machine's memory.
        long heap = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (heap > job.Limits.HeapBytes + HeapGranularity)
        {
            throw new InvalidOperationException($"the heap is limited to {heap} bytes instead of {job.Limits.HeapBytes}");
        }

        SystemCallFilter.Apply(withSockets: job.Sockets.Count > 0);
        try
        {
            VerdictClient? memory = job is ScanJob { Plans: not null } ? new VerdictClient(writer, input) : null;
            Dispatch(job, writer, memory);
            memory?.Flush();
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
            ? MessageText.Job(buffer.AsSpan(0, length))
            : throw new InvalidDataException("the job is no message");
    }

    internal static void Dispatch(WorkerJob job, EventWriter writer, IVerdictMemory? memory = null)
    {
        switch (job)
        {
            case CompileJob compile:
                RuleCompilation.Run(compile, writer);
                break;
            case CheckPartsJob parts:
                PartsCheck.Run(parts, writer);
                break;
            case TryRulesJob rules:
                RuleTrials.Run(rules, writer);
                break;
            case VmJob vm:
                RunOnVm(vm, writer, memory);
                break;
            default:
                throw new InvalidDataException($"unknown job {job.GetType().Name}");
        }
    }

    internal static void RunOnVm(VmJob job, EventWriter writer, IVerdictMemory? memory = null)
    {
        using PaceGate? gate = job is ScanJob { Pacing: { } pacing } ? new PaceGate(pacing, writer) : null;
        RunOnDisks(job, writer, memory, gate);
        if (job.Memory is { } guest)
        {
            MemoryWork.Run(job, guest, writer, gate);
        }
    }

    private static void RunOnDisks(VmJob job, EventWriter writer, IVerdictMemory? memory, PaceGate? gate)
    {
        var progress = new ProgressReporter(writer);
        gate?.Tell(progress.Step);
        var context = new ReadContext(new ScanBudget(job.Limits.HeapBytes), writer)
        {
            Secrets = new UnlockSecrets(job.Secrets),
            VolumeStates = VolumePath.StatesOf(job),
            IncludeDeleted = job.IncludeDeleted || VolumePath.IsDeleted(job),
            OnStep = progress.Step,
            Gate = gate,
        };
        using var opened = new OpenedDisks();
        string image = job.Disks.Count > 0 ? job.Disks[0].Files[0].Name : "";
        try
        {
            for (int i = 0; i < job.Disks.Count; i++)
            {
                opened.Open(job, i, context, writer);
            }

            if (opened.Disks.Count == 0)
            {
                return;
            }

            if (job is ReadJob read)
            {
                RawRead.Run(read, opened.Disks[0].Disk.Content, writer, progress, context);
                return;
            }

            using InspectedVm vm = DiskInspector.Inspect(opened.HandOver(), context);
            Announce(vm, opened, writer);
            if (context.VolumeStates.One is { } state && !vm.Volumes.Any())
            {
                writer.Add(new CoverageGap(Fault.MissingParent, image, "snapshot", -1, 0, $"no volume keeps a state {state}"));
            }

            switch (job)
            {
                case ScanJob scan:
                    DiskScan.Run(scan, vm, context, writer, progress, memory);
                    break;
                case InfoJob:
                    if (GuestInspector.Inspect(vm, context, new ProgressReporter(writer).Step) is { } guest)
                    {
                        writer.Send(new GuestEvent(guest));
                    }

                    break;
                case ListJob list:
                    DiskListing.Run(list, vm, context, writer, progress);
                    break;
                case CatJob cat:
                    FileCopy.Run(cat, vm, writer, progress, context);
                    break;
            }
        }
        catch (Exception e) when (e is not (JobFailedException or OutOfMemoryException))
        {
            Report(e, image, writer);
        }
    }

    /// <summary>What stopped the work on an image as a gap.</summary>
    internal static void Report(Exception stopped, string image, EventWriter writer)
    {
        switch (stopped)
        {
            case DiskFormatException e:
                writer.Add(new CoverageGap(e, image, 0));
                break;
            case IOException or UnauthorizedAccessException:
                writer.Add(new CoverageGap(Fault.Transport, image, "storage", -1, 0, stopped.Message));
                break;
            default:
                // A reader let through what it must not. The disk is a gap like any other, and the log has the defect.
                Log.Error(stopped, "a defect of this program stopped {Image}", image);
                writer.Add(new CoverageGap(Fault.Corrupt, image, "image", -1, 0, $"reading it failed unexpectedly ({stopped.GetType().Name}: {stopped.Message})"));
                break;
        }
    }

    private static void Announce(InspectedVm vm, OpenedDisks opened, EventWriter writer)
    {
        foreach (InspectedDisk disk in vm.Disks)
        {
            int index = opened.IndexOf(disk.Opened);
            writer.Send(new DiskEvent(
                index,
                disk.Disk.Format,
                disk.Disk.Content.Length,
                disk.Disk.SectorBytes,
                disk.Scheme,
                [.. disk.Disk.Chain.Select(c => new ChainReport(c.Path, c.Format))]));
            foreach (InspectedVolume volume in disk.Volumes)
            {
                writer.Send(new VolumeEvent(index, new VolumeReport
                {
                    Id = volume.Id,
                    Scheme = volume.Partition.Scheme,
                    Name = volume.Name,
                    FileSystem = volume.Kind,
                    Label = volume.FileSystem?.Facts.Label is { Length: > 0 } label ? label : volume.Partition.Label,
                    Uuid = volume.FileSystem?.Facts.Id ?? "",
                    PartitionType = volume.Partition.TypeName,
                    OffsetBytes = volume.Partition.OffsetBytes,
                    SizeBytes = volume.Partition.SizeBytes,
                    Notes = volume.Notes,
                }));
            }
        }
    }
}

/// <summary>The job cannot be carried out as it was asked for; the message is for the user.</summary>
internal sealed class JobFailedException(string message) : Exception(message);
