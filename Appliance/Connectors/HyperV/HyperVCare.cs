using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>VMs that are left alone, because a checkpoint more could harm them or somebody else's job, or because their files are not at rest.</summary>
internal static class HyperVCare
{
    /// <exception cref="ConnectorException">It is left alone, and why.</exception>
    public static void Check(VmFacts vm, ConnectorSettings settings)
    {
        string? why = vm.Operation is { } operation ? operation
            : vm.Power == "unknown" ? "it is on its way from one state to another"
            : vm.Power is "off" or "suspended" ? null
            : vm.Checkpoints.FirstOrDefault(c => c.Name.StartsWith(Checkpoints.Prefix, StringComparison.Ordinal)) is { } ours ? $"the checkpoint \"{ours.Name}\" is of another scan, of this appliance or another (vmsweep leases list)"
            : vm.Checkpoints.FirstOrDefault(c => c.IsRecovery) is { } other ? $"the recovery checkpoint \"{other.Name}\" is another product's job"
            : vm.Checkpoints.Count >= settings.MaximumSnapshots ? $"it has {vm.Checkpoints.Count} checkpoints; no more are made from {settings.MaximumSnapshots} on (\"maximumSnapshots\")"
            : null;
        if (why is not null)
        {
            throw new ConnectorException($"{vm.Name} is left alone: {why}");
        }
    }
}
