using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Inventory;

/// <summary>An ownership graph as <c>inventory --format json</c> has it.</summary>
internal sealed record GraphReport(
    string Root, GraphCounts Counts, IReadOnlyList<GraphFileReport> Files, IReadOnlyList<MissingFileReport> Missing, IReadOnlyList<GapReport> NotOpened)
{
    public static GraphReport Of(OwnershipGraph graph) => new(
        graph.Root,
        new GraphCounts(
            graph.Machines.Count(m => m.IsVm),
            graph.Files.Count,
            graph.Files.Count(f => f.State == FileState.Shared),
            graph.Files.Count(f => f.State == FileState.Claimed),
            graph.Files.Count(f => f.State == FileState.Orphan),
            graph.Files.Count(f => f.State == FileState.Stale),
            graph.Missing.Count,
            graph.OtherFiles,
            graph.OtherBytes),
        [
            .. graph.Files.Select(f => new GraphFileReport(
                f.Path, Names.Of(f.Kind), f.Format, f.SizeBytes, Names.Of(f.State), f.Parent?.Path, f.Children, [.. f.Uses.Select(u => new FileUseReport(graph.Machines[u.Machine].Vm.Target, Names.Of(u.Role)))], f.Note)),
        ],
        [.. graph.Missing.Select(m => new MissingFileReport(graph.Machines[m.Machine].Vm.Target, m.From, m.Name, Faults.Name(m.Fault), m.Detail, m.Candidate))],
        [.. graph.NotOpened.SelectMany(v => v.Gaps)]);

    /// <summary>A machine of a datastore as inventories list VMs.</summary>
    public static InventoryVm Of(GraphMachine machine, bool? registered)
    {
        Vm vm = machine.Vm;
        return new InventoryVm(
            vm.Identity.Id,
            vm.Identity.Name,
            vm.Identity.Power,
            "",
            System.IO.Path.GetDirectoryName(vm.Target) ?? "",
            vm.Identity.GuestOs,
            [],
            [.. vm.Disks.Concat(vm.Held).Select((d, i) => new InventoryDisk(FormattableString.Invariant($"d{i + 1}"), "file", d.Path, d.Plan.Declared ?? "", false, [.. d.Plan.Files.Select(f => f.Name)]))])
        {
            Kind = Names.Of(machine.Kind),
            Path = vm.Target,
            Generation = vm.Generation,
            Registered = machine.IsVm ? registered : null,
        };
    }
}

/// <param name="Bases">Files below disks of several VMs.</param>
/// <param name="OtherFiles">Files that belong to no VM as far as their names and sizes tell.</param>
internal sealed record GraphCounts(int Vms, int Files, int Bases, int Claimed, int Orphans, int Stale, int Missing, long OtherFiles, long OtherBytes);

/// <param name="Kind"><c>configuration</c>, <c>package</c>, <c>disk</c>, <c>disc</c>, <c>memory</c>, <c>lock</c>, <c>sidecar</c>.</param>
/// <param name="SizeBytes">-1: it lies below a declared base and cannot be looked at.</param>
/// <param name="State"><c>owned</c>, <c>shared</c>, <c>claimed</c>, <c>orphan</c>, <c>stale</c>.</param>
/// <param name="Parent">The image it was made over; null for a base.</param>
/// <param name="UsedBy">Every target that has it; orphans are their own.</param>
internal sealed record GraphFileReport(string Path, string Kind, string Format, long SizeBytes, string State, string? Parent, int Children, IReadOnlyList<FileUseReport> UsedBy, string Note);

/// <param name="Target">Path of the VM's configuration, or of the image that is scanned by itself.</param>
/// <param name="Role"><c>top</c>, <c>layer</c>, <c>extent</c>, <c>snapshot</c>, <c>memory</c>, <c>disc</c>, <c>configuration</c>, <c>sidecar</c>.</param>
internal sealed record FileUseReport(string Target, string Role);

/// <param name="Candidate">The only file of that name elsewhere in the datastore; <c>--base</c> with its folder lets it be opened.</param>
internal sealed record MissingFileReport(string Target, string From, string Name, string Fault, string Detail, string? Candidate);

/// <summary>Names of the graph's terms in JSON and DOT.</summary>
internal static class Names
{
    public static string Of<T>(T value)
        where T : struct, Enum
    {
        string name = value.ToString();
        return char.ToLowerInvariant(name[0]) + name[1..];
    }
}
