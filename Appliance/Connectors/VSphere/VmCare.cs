using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>VMs that are left alone, because a snapshot more could harm them or somebody else's job.</summary>
internal static class VmCare
{
    /// <summary>Layers of one disk; hosts allow 32, and become slow long before.</summary>
    private const int MostLayers = 24;

    /// <summary>How snapshots of backup and replication products are called; parts of names, in lower case.</summary>
    private static readonly string[] OfOthers =
    [
        "veeam backup temporary snapshot", "veeam replica", "nbu_snapshot", "__gx_backup__", "rubrik", "cohesity", "nakivo", "acronis", "vzdump", "tsm-vm", "data protector", "avamar", "vcb-backup", "vdp-",
        "altaro", "zerto", "unitrends", "arcserve", "backup exec", "synology active backup", "consolidate helper",
    ];

    /// <exception cref="ConnectorException">It is left alone, and why.</exception>
    public static void Check(VmFacts vm, ConnectorSettings settings)
    {
        string? why = vm.Connection is not ("" or "connected") ? $"it is {vm.Connection}: its host cannot be asked for it"
            : !vm.IsTold ? "the server does not tell of its devices: it is broken, or the account may not see it"
            : vm.Power is not "running" ? null
            : vm.NeedsConsolidation ? "its disks need consolidation; a snapshot more would make that worse (\"Consolidate\" in vSphere)"
            : vm.Snapshots.FirstOrDefault(s => OfOthers.Any(o => s.Name.Contains(o, StringComparison.OrdinalIgnoreCase))) is { } other ? $"the snapshot \"{other.Name}\" is another product's job"
            : vm.Snapshots.FirstOrDefault(s => s.Name.StartsWith("vmsweep-", StringComparison.Ordinal)) is { } ours ? $"the snapshot \"{ours.Name}\" is of another scan, of this appliance or another (vmsweep leases list)"
            : vm.Snapshots.Count >= settings.MaximumSnapshots ? $"it has {vm.Snapshots.Count} snapshots; no more are made from {settings.MaximumSnapshots} on (\"maximumSnapshots\")"
            : vm.Disks.Any(d => d.Chain.Count >= MostLayers) ? $"a disk of it has {vm.Disks.Max(d => d.Chain.Count)} layers"
            : null;
        if (why is not null)
        {
            throw new ConnectorException($"{vm.Name} is left alone: {why}");
        }
    }
}
