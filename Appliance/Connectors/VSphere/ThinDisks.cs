using System.Security.Cryptography;
using Serilog;
using Vmsweep.Appliance.Cli;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vmdk;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// What a thin disk has not allocated reads as zeros, and is not fetched. The host is believed only where it keeps a record of the disk's changes, and some of
/// what it calls unallocated is read all the same: one byte there that is no zero, and everything is read.
/// Spec: vSphere API, VirtualMachine.QueryChangedDiskAreas with the change id <c>*</c>.
/// </summary>
internal static class ThinDisks
{
    /// <summary>For less it is not worth asking.</summary>
    private const long FewestBytes = 4 << 20;

    private const int SampleBytes = 256 << 10;
    private const int MostSamples = 16;

    /// <summary>One sample for each of these, beside those at the disk's ends, where partition tables stand.</summary>
    private const long BytesForSample = 64L << 20;

    /// <summary>Leaves out what is not allocated of a disk whose one file is fetched by ranges.</summary>
    /// <param name="snapshot">Whose disk it is; null where the VM stands still without one.</param>
    /// <returns>What is worth telling: the host lies; null where it does not.</returns>
    public static string? LeaveOut(VSphereConnector connector, VmFacts vm, MoRef? snapshot, DiskFacts disk, ChainPlan plan, DatastoreFiles files)
    {
        try
        {
            if (!vm.IsTracked || !disk.IsThin || disk.ChangeId.Length == 0 || PlainFile(plan) is not { } file || files.SourceOf(file) is not { } source || source.Length != disk.CapacityBytes)
            {
                return null;
            }

            var areas = new AllocatedAreas(connector.Tasks.QueryChangedDiskAreas(vm.Reference, snapshot, disk.Key, disk.CapacityBytes, "*"), disk.CapacityBytes);
            if (areas.UnallocatedBytes < FewestBytes)
            {
                return null;
            }

            if (Lie(areas, source) is { } at)
            {
                string note = $"{disk.File}: the host says that the disk has nothing allocated at byte {at}, and there is something; all of it is read";
                Log.Warning("{Vm}: {Note}", vm.Name, note);
                return note;
            }

            Log.Information("{Vm}: {Bytes} of {Disk} are not allocated, and not fetched", vm.Name, Sizes.Show(areas.UnallocatedBytes), disk.File);
            FolderReader.LeaveOut(source, areas);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or DiskFormatException)
        {
            // What is wrong with the disk itself, whoever reads it meets and reports.
            Log.Information("{Vm}: what {Disk} has allocated is not told ({Reason}); all of it is read", vm.Name, disk.File, e.Message);
        }

        return null;
    }

    /// <summary>The file whose bytes are the disk's, one for one; null where there is none.</summary>
    private static PlannedFile? PlainFile(ChainPlan plan)
    {
        if (plan is not { Files: [{ } top, { } only], References: [{ From: 0, Kind: ReferenceKind.Extent, To: 1 }] })
        {
            return null;
        }

        using IBlockSource bytes = PlannedFiles.OpenHead(top);
        return VmdkFormat.PlainExtent(new ImageFile(top.Name, 0, bytes)) is null ? null : only;
    }

    /// <summary>Where something is that should not be; null where none of the samples has anything.</summary>
    private static long? Lie(AllocatedAreas areas, IBlockSource source)
    {
        List<long> samples = [0, Math.Max(0, source.Length - SampleBytes)];
        int more = (int)Math.Min(MostSamples - samples.Count, 1 + (areas.UnallocatedBytes / BytesForSample));
        for (int i = 0; i < more; i++)
        {
            // Nobody is to know which.
            samples.Add(areas.Unallocated((long)(BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong))) % (ulong)areas.UnallocatedBytes)));
        }

        byte[] sample = new byte[SampleBytes];
        foreach (long from in samples)
        {
            (bool isAllocated, long length) = areas.At(from, Math.Min(SampleBytes, source.Length - from));
            if (isAllocated)
            {
                continue;
            }

            source.Read(from, sample.AsSpan(0, (int)length));
            if (sample.AsSpan(0, (int)length).IndexOfAnyExcept((byte)0) is >= 0 and var at)
            {
                return from + at;
            }
        }

        return null;
    }
}
