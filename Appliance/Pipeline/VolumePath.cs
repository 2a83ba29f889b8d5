using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Paths as users write them: <c>VOLUME/path</c>.</summary>
internal static class VolumePath
{
    /// <summary>The volume and the path below it, as guest bytes without a slash at either end.</summary>
    public static (InspectedVolume Volume, byte[] Path) Find(InspectedVm vm, string path)
    {
        string trimmed = path.Trim('/');
        int slash = trimmed.IndexOf('/', StringComparison.Ordinal);
        string id = slash < 0 ? trimmed : trimmed[..slash];
        InspectedVolume volume = vm.Volumes.FirstOrDefault(v => v.Id == id)
            ?? throw new JobFailedException($"there is no volume \"{id}\"; there {(vm.Volumes.Any() ? "are " + string.Join(", ", vm.Volumes.Select(v => v.Id)) : "is none")}");
        return (volume, slash < 0 ? [] : GuestName.Unescape(trimmed[(slash + 1)..]));
    }

    public static string KindName(GuestFileKind kind) => kind switch
    {
        GuestFileKind.Regular or GuestFileKind.System => "file",
        GuestFileKind.Folder => "folder",
        GuestFileKind.Link => "link",
        _ => "device",
    };
}
