using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
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
        string id = First(path);
        InspectedVolume volume = vm.Volumes.FirstOrDefault(v => v.Id == id)
            ?? throw new JobFailedException($"there is no volume \"{id}\"; there {(vm.Volumes.Any() ? "are " + string.Join(", ", vm.Volumes.Select(v => v.Id)) : "is none")}");
        return (volume, slash < 0 ? [] : GuestName.Unescape(trimmed[(slash + 1)..]));
    }

    /// <summary>The states of volumes that a job is about: those it names, or the one that its path lies in.</summary>
    public static VolumeStates StatesOf(VmJob job) => job.VolumeStates switch
    {
        SnapshotChoice.All => VolumeStates.All,
        { } id => VolumeStates.Only(Guid.Parse(id)),
        _ when First(PathOf(job)).Split('@') is [_, var id] && Guid.TryParse(id, out Guid state) => VolumeStates.Only(state),
        _ => VolumeStates.Present,
    };

    /// <summary>A path of a deleted file can only be followed where deleted files are listed.</summary>
    public static bool IsDeleted(VmJob job) => PathOf(job).Trim('/').Split('/') is [_, "$Deleted", ..];

    public static string KindName(GuestFileKind kind) => kind switch
    {
        GuestFileKind.Regular or GuestFileKind.System => "file",
        GuestFileKind.Folder => "folder",
        GuestFileKind.Link => "link",
        _ => "device",
    };

    private static string PathOf(VmJob job) => job switch { ListJob list => list.Path, CatJob cat => cat.Path, _ => "" };

    private static string First(string path) => path.Trim('/').Split('/', 2)[0];
}
