using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Matches everything on a VM's disks.</summary>
internal static class DiskScan
{
    public static void Run(ScanJob job, InspectedVm vm, ReadContext context, EventWriter writer, ProgressReporter progress, IVerdictMemory? memory = null)
    {
        var guest = new GuestInspector();
        DiskContents contents = DiskContents.Collect(vm, context, progress.Step, guest);
        Announce(guest, vm, context, writer);
        using ArchiveContents archives = new(job.Archives, ArchiveContents.MemoryBytes(job.MemoryBytes), ArchiveContents.MostBytes(ImageBytes(job)), progress.Step);
        using Engines engines = Engines.Load(job, archives);
        try
        {
            progress.Begin(contents.Coverage.Values, contents.TotalBytes);
            SeenContents? seen = job.KeepsSeen ? new SeenContents(writer.Send) : null;
            KnownContents? known = KnownContents.Of(job, vm.Disks.Select(d => d.Opened.Disk.Content), writer.Find, writer.Send, seen);
            var shared = new MatchShared(engines, writer.Find, context.Gaps, context.Cancellation) { Memory = memory, Known = known, Seen = seen };
            using var buffers = new ContentBuffers(job.MemoryBytes);
            var pump = new ContentPump(buffers, job.Threads, engines.HashNeeds, context.Gaps, MostBytes(job), ContentPump.MostZerosOfScan, progress.Step, context.Cancellation) { Known = known };
            Read(contents.Items);
            known?.Settle(Read, job.Disks[0].Files[0].Name, layers => writer.Send(new DisprovedEvent(layers)));
            seen?.Flush();
            if (archives.Unopened > 0)
            {
                context.Gaps.Add(new CoverageGap(Fault.Limit, job.Disks[0].Files[0].Name, "archives", -1, 0, $"{archives.Unopened} files that hold others were matched but not opened, as asked for"));
            }

            void Read(IReadOnlyList<ContentItem> items)
            {
                if (items.Count > 0)
                {
                    pump.Run(items, () => new MatchConsumer(shared, progress), windowsAreGaps: true);
                }
            }
        }
        finally
        {
            progress.Send();
        }
    }

    /// <summary>Tells where the guest shows its volumes before anything is found on them. Its files are scanned like all others, so what their text lacks is no gap.</summary>
    private static void Announce(GuestInspector guest, InspectedVm vm, ReadContext context, EventWriter writer)
    {
        try
        {
            if (guest.Facts(vm, context with { Gaps = new GapList(most: 1) }, withPackages: false) is { } facts)
            {
                writer.Send(new GuestEvent(facts));
            }
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            // The scan reads the same bytes and reports them.
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
