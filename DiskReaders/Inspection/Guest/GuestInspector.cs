using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Learns from a VM's disks what system is on them: told of every file that a walk over them meets, it keeps the few that tell.</summary>
public sealed class GuestInspector
{
    private readonly Dictionary<InspectedVolume, FoundFiles> _found = [];

    /// <summary>Walks every volume once.</summary>
    /// <param name="step">Called for every entry that is looked at.</param>
    /// <returns>Null when no system is found.</returns>
    public static GuestFacts? Inspect(InspectedVm vm, ReadContext context, Action? step = null)
    {
        var inspector = new GuestInspector();
        foreach (InspectedVolume volume in vm.Volumes.Where(v => v.FileSystem is not null))
        {
            inspector.Walk(volume, context, step);
        }

        return inspector.Facts(vm, context, withPackages: true);
    }

    /// <summary>Looks at a file that a walk of a volume met.</summary>
    public void Look(InspectedVolume volume, GuestFile file)
    {
        if (!_found.TryGetValue(volume, out FoundFiles? files))
        {
            _found[volume] = files = new FoundFiles(volume);
        }

        files.Look(file);
    }

    /// <summary>What the files say, when all volumes were walked.</summary>
    /// <param name="withPackages">Databases of packages are read too, which takes longer than all the rest.</param>
    /// <returns>Null when no system is found.</returns>
    public GuestFacts? Facts(InspectedVm vm, ReadContext context, bool withPackages)
    {
        var text = new GuestText(context);
        List<FoundFiles> all = [.. vm.Volumes.Select(v => _found.GetValueOrDefault(v)).OfType<FoundFiles>()];
        List<GuestFacts> systems = [];
        foreach (FoundFiles files in all)
        {
            if (WindowsSystem.FolderOf(files) is { } folder && WindowsSystem.Facts(files, folder, vm, text) is { } windows)
            {
                systems.Add(windows);
            }
            else if (LinuxRoot.Of(files, all, text) is { } root)
            {
                systems.Add(LinuxSystem.Facts(root, all, vm, text, withPackages));
            }
        }

        return systems.Count == 0 ? null : systems[0] with
        {
            OtherSystems = [.. systems.Skip(1).Take(GuestFacts.MostItems).Select(s => $"{s.Volume} {s.OperatingSystem}".TrimEnd())],
        };
    }

    private void Walk(InspectedVolume volume, ReadContext context, Action? step)
    {
        try
        {
            foreach (GuestFile file in volume.FileSystem!.Walk())
            {
                context.ThrowIfCancelled();
                step?.Invoke();
                Look(volume, file);
            }
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, volume.Id, 0));
        }
        catch (IOException e)
        {
            context.Gaps.Add(new CoverageGap(Fault.Transport, volume.Id, "storage", -1, 0, e.Message));
        }
    }
}
