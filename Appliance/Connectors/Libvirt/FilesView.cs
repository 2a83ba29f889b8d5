using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>A VM that is off or saved: its image files, read where they lie. Nothing is made on the host.</summary>
internal sealed class FilesView(LibvirtConnector connector, InventoryVm vm, string target, IReadOnlyList<string> bases) : IVmView
{
    public Vm Vm { get; } = Read(vm, target, [.. connector.Settings.Bases, .. bases]) with
    {
        // Its memory as it was when it was suspended.
        MemoryImage = vm.Power == "suspended" && Path.Combine(connector.Settings.Saves, vm.Name + ".save") is var save && vm.Name.All(c => c is not '/') && File.Exists(save) ? save : null,
    };

    public string? MustClose() => null;

    public IReadOnlyList<GapReport> Conclude()
    {
        string now = connector.On(vm.Id, (_, domain) => domain.Power);
        return now is "running" or "paused" && vm.Power is "off" or "suspended"
            ? [new CoverageGap(Fault.Refused, target, "VM", -1, 0, "the VM was started while its disks were read; what it changed meanwhile may have been missed").ToReport()]
            : [];
    }

    public string? Keep() => null;

    public void Dispose()
    {
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
