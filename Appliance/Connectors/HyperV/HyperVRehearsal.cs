using System.Globalization;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>Everything that a scan does up to the point where it would change something; no VM is touched.</summary>
internal sealed class HyperVRehearsal(HyperVConnector connector)
{
    private static readonly string[] Services = ["Msvm_VirtualSystemSnapshotService", "Msvm_VirtualSystemManagementService", "Msvm_ImageManagementService"];

    private readonly List<ConnectorCheck> _checks = [];

    public IReadOnlyList<ConnectorCheck> Run()
    {
        if (!Try("log in", connector.Check, "see the message; \"address\", \"account\", \"secret\", \"authentication\" and \"certificate\" or \"ca\"; on the host: winrm quickconfig -transport:https"))
        {
            return _checks;
        }

        Try("nodes", () => connector.Cluster.IsCluster ? string.Join(", ", connector.Cluster.Nodes.Select(n => n.Name + (n.IsUp ? "" : " (down)"))) : "no cluster", "the account needs to read root\\mscluster");
        foreach ((string node, bool isUp) in connector.Cluster.Nodes)
        {
            if (isUp)
            {
                Try($"services of {node}", () => string.Join(", ", Services.Select(s => connector.Cluster.Host(node).Service(s)["CreationClassName"])), "the account must be one of \"Hyper-V Administrators\" and \"Remote Management Users\" there; \"nodes\" tells other addresses");
            }
        }

        IReadOnlyList<InventoryVm> vms = [];
        if (Try("inventory", () => $"{(vms = connector.List()).Count} VMs, {vms.Count(v => v.Power == "running")} of them running", "the account must be one of \"Hyper-V Administrators\""))
        {
            Try("storage", () => Storage(vms), "mount the host's storage here (SMB, NFS, cluster volume), read only, and name it in \"paths\"");
            if (vms.FirstOrDefault(v => v.Power == "off" && v.Disks.Any(d => d.Type == "file")) is { } resting)
            {
                Try("a file", () => ReadOne(resting), "this account must be able to read the files of the mounted storage");
            }
        }

        return _checks;
    }

    private string Storage(IReadOnlyList<InventoryVm> vms)
    {
        List<(string Path, string Host)> all = [.. vms.SelectMany(v => v.Disks.Where(d => d.Type == "file").Select(d => (d.Source, v.Host)))];
        List<(string Path, string Host)> without = [.. all.Where(d => HostPath.Parse(d.Path) is { } path && connector.Paths.Find(path, d.Host) is null)];
        return without.Count == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{all.Count} disks, all below \"paths\"")
            : throw new ConnectorException($"{without.Count} of {all.Count} disks are below no path of \"paths\", such as {without[0].Path} of {without[0].Host}");
    }

    private string ReadOne(InventoryVm vm)
    {
        InventoryDisk disk = vm.Disks.First(d => d.Type == "file");
        HostPath path = HostPath.Parse(disk.Source) ?? throw new ConnectorException($"{disk.Source} is no path");
        (string? at, _, string why) = connector.Paths.Open(path, vm.Host);
        using var file = new FileSource(at ?? throw new ConnectorException(why));
        file.Read(0, new byte[1]);
        return string.Create(CultureInfo.InvariantCulture, $"{path}: {file.Length} bytes at {at}");
    }

    private bool Try(string what, Func<string> check, string mend)
    {
        try
        {
            _checks.Add(new ConnectorCheck(what, true, check(), ""));
            return true;
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException or DiskFormatException)
        {
            _checks.Add(new ConnectorCheck(what, false, e.Message, mend));
            return false;
        }
    }
}
