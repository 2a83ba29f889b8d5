using System.IO.Enumeration;
using Serilog;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Sweeps.Planning;

/// <summary>The VMs of a sweep as they are now. What cannot be listed stands among them, as something that is a gap when its turn comes.</summary>
/// <param name="reap">Ends what is left open of a hypervisor's VM, by its id.</param>
internal sealed class SweepInventory(ConnectorCatalog catalog, LeaseJournal journal, Action<string> reap, IReadOnlyList<TenantSettings> tenants, CancellationToken cancellation)
{
    public IReadOnlyList<SweepVm> List(SweepSettings sweep)
    {
        SweepScope scope = sweep.What;
        List<SweepVm> vms = [];
        foreach (string connector in scope.Connectors)
        {
            vms.AddRange(OfConnector(connector, scope, sweep.Memory == MemoryChoice.Running));
        }

        foreach (string folder in scope.Folders)
        {
            vms.AddRange(OfFolder(folder, scope));
        }

        return [.. vms.Where(v => IsWanted(v, scope))];
    }

    /// <summary>The datastore that a path of a hypervisor names: what stands in brackets, or else its folder.</summary>
    public static string DatastoreOf(string path) =>
        path.StartsWith('[') && path.IndexOf(']', StringComparison.Ordinal) is > 1 and var end ? path[1..end] : Path.GetDirectoryName(path) is { Length: > 0 } folder ? folder : path;

    private IEnumerable<SweepVm> OfConnector(string name, SweepScope scope, bool withMemory)
    {
        IReadOnlyList<InventoryVm> listed;
        try
        {
            using IConnector connector = catalog.Open(name);
            listed = connector.List();
        }
        catch (IOException e)
        {
            Log.Warning("{Connector} cannot be listed: {Reason}", name, e.Message);
            return [NotListed(name, name, name, null, e.Message)];
        }

        return listed.Select(vm =>
        {
            string folder = vm.Folder.Trim('/') is { Length: > 0 } inner ? $"{name}/{inner}" : name;
            string target = $"{name}/{vm.Name}";
            return new SweepVm(StoredText.Key($"{name}/{vm.Id}"), vm.Name)
            {
                Id = vm.Id,
                Target = target,
                Power = vm.ToReport().Power,
                Host = vm.Host,
                Place = vm.Host.Length > 0 ? $"the host {vm.Host} of {name}" : $"the hypervisor {name}",
                Folder = folder,
                Tenant = TenantOf(folder)?.Name ?? "",
                Scope = TenantOf(folder) is { SharesVerdicts: false } own ? own.Name : "",
                Tags = vm.Tags,
                Datastores = vm.Disks.Count > 0 ? [.. vm.Disks.Select(d => DatastoreOf(d.Source))] : [name],
                IsAway = () => IsAway(name),
                Open = _ =>
                {
                    // What an earlier try of it could not undo keeps it from being opened again.
                    reap(vm.Id);

                    // One for each VM: what one scan does to its connection is nothing to the others.
                    IConnector opened = catalog.Open(name);
                    try
                    {
                        return new OpenedVm(opened.Target(vm, target, new ViewRequest(journal, scope.Bases) { WithMemory = withMemory }), opened);
                    }
                    catch
                    {
                        opened.Dispose();
                        throw;
                    }
                },
            };
        });
    }

    private bool IsAway(string name)
    {
        try
        {
            using IConnector connector = catalog.Open(name);
            connector.Check();
            return false;
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            return HostLoss.Is(e);
        }
    }

    private IEnumerable<SweepVm> OfFolder(string root, SweepScope scope)
    {
        List<Vm> listed;
        try
        {
            listed = Directory.Exists(root) ? [.. new TargetFinder(scope.Bases, cancellation).Find(root)] : throw new TargetException($"{root}: there is no such folder");
        }
        catch (Exception e) when (e is TargetException or IOException or UnauthorizedAccessException)
        {
            Log.Warning("{Folder} cannot be listed: {Reason}", root, e.Message);
            return [NotListed(root, root, root, root, e.Message)];
        }

        HashSet<string> several = [.. listed.GroupBy(v => v.Target).Where(g => g.Skip(1).Any()).Select(g => g.Key)];
        return listed.Select(vm =>
        {
            string folder = Path.GetDirectoryName(vm.Target) ?? root;
            return new SweepVm(StoredText.Key(several.Contains(vm.Target) ? $"{vm.Target}\n{vm.Identity.Id}" : vm.Target), vm.Identity.Name)
            {
                Id = vm.Identity.Id,
                Target = vm.Target,
                Power = vm.Identity.Power,
                Folder = folder,
                Tenant = TenantOf(folder)?.Name ?? "",
                Scope = TenantOf(folder) is { SharesVerdicts: false } own ? own.Name : "",
                Datastores = [.. Enumerable.Repeat(root, Math.Max(1, vm.Disks.Count))],
                Root = root,
                Place = $"the datastore {root}",
                Parents = [.. vm.Disks.SelectMany(d => PlannedLayers.Parents(d.Plan))],
                Open = stop => new OpenedVm(Again(vm, scope, stop)),
            };
        });
    }

    /// <summary>Hours may have passed since it was listed: it may run by now, or have other disks.</summary>
    /// <param name="stop">The scan's own: what ends the sweep is not all that ends a scan.</param>
    private static Vm Again(Vm listed, SweepScope scope, CancellationToken stop)
    {
        switch (HostFile.KindOf(listed.Target))
        {
            case HostFileKind.Regular:
                List<Vm> found = [.. new TargetFinder(scope.Bases, stop).Find(listed.Target)];
                return found.Find(v => v.Identity.Id == listed.Identity.Id) ?? (found.Count == 1 ? found[0] : throw new TargetException($"{listed.Target}: it holds another VM than when it was listed"));
            case HostFileKind.Missing:
                throw new TargetException($"{listed.Target}: it is not there any more");
            default:
                // What is never opened, such as a link, with the gap that says so.
                return listed with { Disks = [], Memory = null };
        }
    }

    private static SweepVm NotListed(string key, string name, string target, string? root, string why) => new(StoredText.Key("not listed: " + key), name)
    {
        Id = key,
        Target = target,
        Datastores = [name],
        Root = root,
        Open = _ => new OpenedVm(new Vm(target, new VmReport(key, name, "unknown", ""), [], [new CoverageGap(Fault.Transport, target, "inventory", -1, 0, why).ToReport()])),
    };

    private TenantSettings? TenantOf(string folder) => tenants.FirstOrDefault(t => t.Folders.Any(f => SweepConfiguration.Contains(f, folder)));

    private static bool IsWanted(SweepVm vm, SweepScope scope) =>
        // What could not be listed may hold what is wanted: it is left out by no filter.
        vm.Key.StartsWith("not listed: ", StringComparison.Ordinal)
        || ((scope.Tenant is null || vm.Tenant == scope.Tenant) && (scope.Include is null || Fits(vm, scope.Include)) && (scope.Exclude is null || !Fits(vm, scope.Exclude)));

    private static bool Fits(SweepVm vm, VmFilter filter) =>
        filter.Names.Any(n => FileSystemName.MatchesSimpleExpression(n, vm.Name, ignoreCase: false))
        || filter.Folders.Any(f => SweepConfiguration.Contains(f, vm.Folder))
        || filter.Tags.Any(vm.Tags.Contains);
}
