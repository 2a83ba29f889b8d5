using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>
/// The files of a VM that is read as it lies. Whether it runs tells only what it does now: one that was started and stopped meanwhile, or reverted, is off as
/// before, and what was read is of two moments. So it is looked at what its files were when reading began.
/// </summary>
internal sealed class StillFiles
{
    private readonly Func<string, string> _state;
    private readonly List<(string Name, string State)> _files;

    /// <param name="state">Of a file of the hypervisor's host, by its path there; null: files are here, and others of the plan (exports) are not looked at.</param>
    public StillFiles(Vm vm, Func<string, string>? state = null)
    {
        _state = state ?? Here;
        _files =
        [
            .. vm.Disks.SelectMany(d => d.Plan.Files).Concat(vm.Memory?.Plan.Files ?? []).Where(f => state is not null || f.Export is null)
                .Select(f => state is not null ? f.Name : f.Path).Distinct(StringComparer.Ordinal).Select(f => (f, _state(f))),
        ];
    }

    /// <summary>What became of them, that spoils what was read; null where nothing did.</summary>
    public string? Change()
    {
        // One that is gone between its opening and the first look is read on by who holds it open.
        (string name, string before) = _files.Find(f => f.State.Length == 0 || _state(f.Name) != f.State);
        return name is null ? null
            : before.Length == 0 ? $"{name} cannot be looked at since it was opened: it was deleted or moved, and whether it stood still is not known"
            : $"{name} was changed while it was read: the VM was started or reverted meanwhile, or something else writes to its disks; what was read may be of several moments";
    }

    /// <summary>Of the file itself, where the path is a link.</summary>
    private static string Here(string path)
    {
        try
        {
            var file = new FileInfo(path);
            file = file.ResolveLinkTarget(returnFinalTarget: true) as FileInfo ?? file;
            return file.Exists ? FormattableString.Invariant($"{file.Length} {file.LastWriteTimeUtc.Ticks} {file.CreationTimeUtc.Ticks}") : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Links in a circle, or beyond a folder that may not be entered: it cannot be read either.
            return "";
        }
    }
}
