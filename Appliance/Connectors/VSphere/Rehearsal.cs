using System.Globalization;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Everything that a scan does up to the point where it would change something: for an operator who wants to know whether his server, account and network
/// will do, without any VM being touched.
/// </summary>
internal sealed class Rehearsal(VSphereConnector connector)
{
    private readonly List<ConnectorCheck> _checks = [];

    public IReadOnlyList<ConnectorCheck> Run()
    {
        if (!Try("log in", () => connector.Check(), "see the message; \"address\", \"account\", \"secret\" and \"certificate\" in the configuration"))
        {
            return _checks;
        }

        IReadOnlyList<InventoryVm> vms = [];
        if (!Try("inventory", () => $"{(vms = connector.List()).Count} VMs, {vms.Count(v => v.Power == "running")} of them running", "the account needs to see the VMs: a read-only role at the root, with \"propagate\""))
        {
            return _checks;
        }

        foreach ((string privilege, string why) in Privileges.Needed)
        {
            Try($"privilege {privilege}", () => Privileges.Has(connector, connector.Session.Service("rootFolder"), privilege) ? why : throw new ConnectorException($"the account does not have it: {why}"), "docs/vsphere-role.ps1 makes a role with all of them");
        }

        if (connector.Settings.Ways.Contains(ReadWay.HotAdd))
        {
            Try("hotadd", () => connector.Own().Ready(connector), "see the message; \"ways\" and \"appliance\" in the configuration");
        }

        if (connector.Settings.Ways.Contains(ReadWay.Ranges) && vms.FirstOrDefault(v => v.Power is "off" && v.Disks.Any(d => DatastorePath.TryParse(d.Source, out _))) is { } resting)
        {
            Try("a file by range", () => ReadOne(resting), "the account needs Datastore.FileManagement (low level file operations), and the way to the host must be open: TCP 443");
        }

        return _checks;
    }

    private string ReadOne(InventoryVm vm)
    {
        VmFacts facts = VmFacts.Read(connector.Properties, connector.Locate(vm.Id, vm.Id) ?? throw new ConnectorException($"{vm.Name} is gone"));
        Places places = Places.Of(connector, facts);
        DatastorePath path = facts.Disks.Where(d => d.Obstacle is null).Select(d => DatastorePath.TryParse(d.File, out DatastorePath p) ? p : (DatastorePath?)null).FirstOrDefault(p => p is not null)
            ?? throw new ConnectorException($"{vm.Name} has no disk that could be tried");
        if (connector.Settings.Mounts.TryGetValue(path.Datastore, out string? mount))
        {
            return $"{path.Datastore} is mounted at {mount}";
        }

        List<FolderReader> readers = [];
        try
        {
            long length = places.Reader(readers)(path).Open(path).Length;
            return string.Create(CultureInfo.InvariantCulture, $"{path}: {length} bytes");
        }
        finally
        {
            readers.ForEach(r => r.Dispose());
        }
    }

    private bool Try(string what, Func<string> check, string mend)
    {
        try
        {
            _checks.Add(new ConnectorCheck(what, true, check(), ""));
            return true;
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            _checks.Add(new ConnectorCheck(what, false, e.Message, mend));
            return false;
        }
    }
}
