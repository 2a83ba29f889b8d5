using System.Diagnostics;
using System.Globalization;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>
/// The memory of a running VM, which its hypervisor writes into a file while the VM stands still: the file is there for as long as it is scanned, has a lease
/// of its own, and is never begun where it would leave too little space.
/// </summary>
internal sealed class MemoryDump : IDisposable
{
    private const string FolderKey = "folder";
    private const string Prefix = "vmsweep-";
    private const string FileName = "memory.core";
    private const string DefaultSpool = "/var/tmp";

    /// <summary>Tables, notes and memory of devices beside the guest's own.</summary>
    private const long Overhead = 256L << 20;

    private readonly Lease _lease;
    private readonly Action<LeaseRecord> _undo;

    private MemoryDump(Lease lease, Action<LeaseRecord> undo) => (_lease, _undo) = (lease, undo);

    private string Path => FileOf(_lease.Record);

    private TimeSpan Took { get; set; }

    /// <summary>Opens a view of a VM with its memory, or with the gap that its memory is.</summary>
    /// <param name="kind">Of the lease.</param>
    /// <param name="undo">Waits until the hypervisor writes no more, and then removes what the lease records.</param>
    /// <param name="memoryBytes">How much the VM has.</param>
    /// <param name="account">Whose process makes the file; null: an account that needs no right to the folder.</param>
    /// <param name="dump">Has the file written.</param>
    /// <param name="open">The view of its disks: after the dump, for a backup that is under way keeps hypervisors from dumping.</param>
    public static IVmView Open(
        string kind, Action<LeaseRecord> undo, IConnector connector, ConnectorSettings settings, InventoryVm vm, ViewRequest request, Func<long> memoryBytes, (uint, uint)? account, Action<string> dump, Func<IVmView> open)
    {
        MemoryDump? taken = null;
        string? failure = null;
        try
        {
            taken = Take(kind, undo, connector.Name, settings, vm, request.Journal, memoryBytes(), account, dump);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            failure = e.Message;
        }

        try
        {
            IVmView view = open();
            Vm read = taken is not null
                ? view.Vm with
                {
                    Memory = new VmMemory(taken.Path, new MemoryPlan([new PlannedFile(0, taken.Path, taken.Path)])),
                    Notes = [.. view.Vm.Notes, string.Create(CultureInfo.InvariantCulture, $"the VM stood still for {taken.Took.TotalSeconds:0.0} s while its memory was written")],
                }
                : view.Vm with { Gaps = [.. view.Vm.Gaps, new CoverageGap(Fault.Transport, view.Vm.Target, "guest memory", -1, 0, failure!).ToReport()] };
            return new WithMemory(view, read, taken);
        }
        catch
        {
            taken?.Dispose();
            throw;
        }
    }

    /// <summary>Removes the file of a lease, which nobody writes any more.</summary>
    public static void Remove(LeaseRecord lease)
    {
        string folder = lease.Details[FolderKey];
        if (System.IO.Path.GetFileName(folder) != Prefix + lease.Key)
        {
            throw new InvalidDataException($"{folder} is not this lease's");
        }

        if (HostFile.KindOf(folder) == HostFileKind.Folder)
        {
            File.Delete(FileOf(lease));
            Directory.Delete(folder);
        }
    }

    /// <summary>The hypervisor may not have begun to write it, or may be at it.</summary>
    public static bool IsBegun(LeaseRecord lease) => File.Exists(FileOf(lease));

    public void Dispose()
    {
        using (_lease)
        {
            _undo(_lease.Record);
            _lease.Complete();
        }
    }

    private static MemoryDump Take(
        string kind, Action<LeaseRecord> undo, string connector, ConnectorSettings settings, InventoryVm vm, LeaseJournal journal, long memoryBytes, (uint, uint)? account, Action<string> dump)
    {
        string spool = settings.Spool ?? settings.Scratch ?? DefaultSpool;
        if (memoryBytes > settings.SpoolBytes)
        {
            throw new ConnectorException($"{vm.Name} has {Sizes.Show(memoryBytes)} of memory, more than {Sizes.Show(settings.SpoolBytes)} (\"spoolSize\")");
        }

        long free = LocalFiles.Instance.FreeBytes(spool);
        if (free - memoryBytes - Overhead < settings.MinimumFreeBytes)
        {
            throw new ConnectorException($"{spool} has {Sizes.Show(free)} free: with {Sizes.Show(memoryBytes)} of memory of {vm.Name} in it, less than {Sizes.Show(settings.MinimumFreeBytes)} would be left (\"minimumFree\"; \"spool\" names another folder)");
        }

        Lease lease = journal.Begin(kind, connector, vm.Id, vm.Name, key => new Dictionary<string, string> { [FolderKey] = System.IO.Path.Combine(spool, Prefix + key) });
        var taken = new MemoryDump(lease, undo);
        try
        {
            ViewFolder.MakeFor(lease.Record.Details[FolderKey], account);
            long started = Stopwatch.GetTimestamp();
            dump(taken.Path);
            taken.Took = Stopwatch.GetElapsedTime(started);
            ViewFolder.TakeOver(taken.Path);
            return taken;
        }
        catch
        {
            lease.Abandon(() => undo(lease.Record));

            throw;
        }
    }

    private static string FileOf(LeaseRecord lease) => System.IO.Path.Combine(lease.Details[FolderKey], FileName);

    /// <summary>A view of disks, and what goes when it goes.</summary>
    private sealed class WithMemory(IVmView view, Vm vm, MemoryDump? dump) : IVmView
    {
        public Vm Vm => vm;

        public IViewChanges? Changes => view.Changes;

        public string? MustClose() => view.MustClose();

        public IReadOnlyList<GapReport> Conclude() => view.Conclude();

        public string? Keep() => view.Keep();

        public void Dispose()
        {
            try
            {
                view.Dispose();
            }
            finally
            {
                dump?.Dispose();
            }
        }
    }
}
