using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Learns from a VM's disks what system is on them. Walks every volume once; a scan has no need of it.</summary>
public static class GuestInspector
{
    /// <param name="step">Called for every entry that is looked at.</param>
    /// <returns>Null when no system is found.</returns>
    public static GuestFacts? Inspect(InspectedVm vm, ReadContext context, Action? step = null)
    {
        var text = new GuestText(context);
        List<FoundFiles> all = [.. vm.Volumes.Where(v => v.FileSystem is not null).Select(v => FoundFiles.In(v, context, step))];
        List<GuestFacts> systems = [];
        foreach (FoundFiles files in all)
        {
            if (WindowsSystem.FolderOf(files) is { } folder && WindowsSystem.Facts(files, folder, vm, text) is { } windows)
            {
                systems.Add(windows);
            }
            else if (LinuxSystem.RootOf(files) is { } root)
            {
                systems.Add(LinuxSystem.Facts(files, root, all, vm, text));
            }
        }

        return systems.Count == 0 ? null : systems[0] with
        {
            OtherSystems = [.. systems.Skip(1).Take(GuestFacts.MostItems).Select(s => $"{s.Volume} {s.OperatingSystem}".TrimEnd())],
        };
    }
}
