using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Which states of VMs are meant by <c>--snapshot</c>.</summary>
internal static class SnapshotChoice
{
    /// <summary>Every state, the present one first, with what its volumes keep of themselves.</summary>
    public const string All = "all";

    /// <param name="vms">The VMs as they are.</param>
    /// <param name="choice">A snapshot's name or id, or the id of a shadow copy of a volume, <see cref="All"/>, or null for the present state.</param>
    /// <param name="bases">Folders of declared bases.</param>
    /// <exception cref="TargetException">No VM has such a snapshot, or one has several of that name.</exception>
    public static IEnumerable<Vm> Choose(IReadOnlyList<Vm> vms, string? choice, IReadOnlyList<string> bases)
    {
        switch (choice)
        {
            case null:
                return vms;
            case All:
                return vms.SelectMany(vm => (IEnumerable<Vm>)[vm with { VolumeStates = All }, .. vm.Snapshots.Select(s => Then(vm, s, bases))]);
            default:
                if (Guid.TryParse(choice, out Guid state) && !vms.Any(vm => vm.Snapshots.Any(s => IsMeant(s, choice))))
                {
                    // Which shadow copies a guest's volumes keep is only known when they are read.
                    return vms.Select(vm => vm with { Snapshot = choice, VolumeStates = state.ToString(), Memory = null });
                }

                if (!vms.Any(vm => vm.Snapshots.Any(s => IsMeant(s, choice))))
                {
                    string[] names = [.. vms.SelectMany(vm => vm.Snapshots).Select(s => s.Name).Distinct()];
                    throw new TargetException($"there is no snapshot \"{choice}\"; there {(names.Length > 0 ? "are " + string.Join(", ", names) : "is none")}");
                }

                return vms.Select(vm => One(vm, choice, bases));
        }
    }

    private static Vm One(Vm vm, string name, IReadOnlyList<string> bases)
    {
        List<VmSnapshot> meant = [.. vm.Snapshots.Where(s => IsMeant(s, name))];
        return meant.Count switch
        {
            1 => Then(vm, meant[0], bases),
            0 => vm with { Disks = [], Memory = null, Snapshot = name, Gaps = [new CoverageGap(Fault.MissingParent, vm.Target, "snapshot", -1, 0, $"it has no snapshot \"{name}\"").ToReport()] },
            _ => throw new TargetException($"{vm.Target} has {meant.Count} snapshots \"{name}\"; name one by its id: {string.Join(", ", meant.Select(s => s.Id))}"),
        };
    }

    private static Vm Then(Vm vm, VmSnapshot snapshot, IReadOnlyList<string> bases) => snapshot.Of(vm, bases) with { Snapshot = snapshot.Name };

    private static bool IsMeant(VmSnapshot snapshot, string name) => snapshot.Name == name || snapshot.Id == name;
}
