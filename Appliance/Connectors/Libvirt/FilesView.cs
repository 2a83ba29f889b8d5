using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>A VM that is off or saved: its image files, read where they lie. Nothing is made on the host.</summary>
internal sealed class FilesView : IVmView
{
    private const string NoSave = "the VM is saved, and its memory is not in the configured folder (\"saves\")";

    private readonly LibvirtConnector _connector;
    private readonly InventoryVm _vm;
    private readonly StillFiles _files;

    public FilesView(LibvirtConnector connector, InventoryVm vm, string target, IReadOnlyList<string> bases)
    {
        (_connector, _vm) = (connector, vm);
        Vm = WithMemory(
            Read(vm, target, [.. connector.Settings.Bases, .. bases]),
            SaveOf(connector, vm),
            save => HostFile.KindOf(save) == HostFileKind.Regular ? new PlannedFile(0, save, save) : throw new ConnectorException(NoSave));
        _files = new StillFiles(Vm);
    }

    public Vm Vm { get; }

    public string? MustClose() => null;

    public IReadOnlyList<GapReport> Conclude() => Conclude(_connector, _vm, Vm.Target, _files);

    public string? Keep() => null;

    public void Dispose()
    {
    }

    /// <summary>What became of the VM since.</summary>
    public static IReadOnlyList<GapReport> Conclude(LibvirtConnector connector, InventoryVm vm, string target, StillFiles files)
    {
        string now = connector.On(vm.Id, (_, domain) => domain.Power);
        string? change = now is "running" or "paused" && vm.Power is "off" or "suspended" ? "the VM was started while its disks were read; what it changed meanwhile may have been missed" : files.Change();
        return change is null ? [] : [new CoverageGap(Fault.Refused, target, "VM", -1, 0, change).ToReport()];
    }

    /// <summary>Where libvirt keeps the memory of a VM that it saved; null for a VM that is not saved.</summary>
    public static string? SaveOf(LibvirtConnector connector, InventoryVm vm) =>
        vm.Power == "suspended" && !vm.Name.Contains('/', StringComparison.Ordinal) ? Path.Combine(connector.Settings.Saves, vm.Name + ".save") : null;

    /// <summary>With its memory as it was when it was saved, or the gap that it is.</summary>
    /// <param name="save">Null for a VM that is not saved.</param>
    public static Vm WithMemory(Vm read, string? save, Func<string, PlannedFile> open)
    {
        try
        {
            return save is null ? read : read with { Memory = new VmMemory(save, new MemoryPlan([open(save)])) };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return read with { Gaps = [.. read.Gaps, new CoverageGap(Fault.Transport, save!, "guest memory", -1, 0, e.Message).ToReport()] };
        }
    }

    /// <summary>The disks of a VM that are files, with their chains.</summary>
    public static Vm Read(InventoryVm vm, string target, IReadOnlyList<string> bases)
    {
        List<VmDisk> disks = [];
        List<GapReport> gaps = [];
        foreach (InventoryDisk disk in vm.Disks)
        {
            if (disk.Type != "file" || !Path.IsPathRooted(disk.Source))
            {
                gaps.Add(new CoverageGap(Fault.Unsupported, disk.Source.Length > 0 ? disk.Source : disk.Name, "disk", -1, 0, $"a disk of the type {disk.Type} is no file, and the VM does not run").ToReport());
                continue;
            }

            try
            {
                if (HostFile.KindOf(disk.Source, follow: true) != HostFileKind.Regular)
                {
                    gaps.Add(new CoverageGap(Fault.Transport, disk.Source, "storage", -1, 0, "no regular file").ToReport());
                    continue;
                }

                disks.Add(VmDisk.Of(disk.Source, Path.GetDirectoryName(disk.Source)!, bases, disk.Format));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                gaps.Add(new CoverageGap(Fault.Transport, disk.Source, "storage", -1, 0, e.Message).ToReport());
            }
        }

        return new Vm(target, vm.ToReport(), disks, gaps);
    }
}
