using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Inventory;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>An ownership graph as a tree for people. Every name in it may be a tenant's choice.</summary>
internal static class GraphText
{
    /// <summary>So many VMs of a base are named; the rest is a number.</summary>
    private const int MostNamed = 5;

    public static void Write(OwnershipGraph graph, Registration? registration, TextWriter writer)
    {
        Dictionary<string, GraphFile> files = graph.Files.ToDictionary(f => f.Path, StringComparer.Ordinal);
        ILookup<int, (GraphFile File, FileRole Role)> own = graph.Files.SelectMany(f => f.Uses.Select(u => (u.Machine, File: f, u.Role))).ToLookup(u => u.Machine, u => (u.File, u.Role));
        ILookup<int, MissingFile> missing = graph.Missing.ToLookup(m => m.Machine);
        for (int i = 0; i < graph.Machines.Count; i++)
        {
            if (graph.Machines[i] is { IsVm: true } machine)
            {
                bool isUnregistered = registration is not null && !registration.Has(machine);
                WriteVm(machine.Vm, isUnregistered, own[i], missing[i], files, writer);
            }
        }

        Section(writer, "Bases of several VMs", graph.Files.Where(f => f.State == FileState.Shared), f => Vms(f, graph));
        Section(writer, "Claimed by several VMs", graph.Files.Where(f => f.State == FileState.Claimed), f => Vms(f, graph));
        Section(writer, "Orphans", Alone(graph, FileState.Orphan, FileKind.Disk, FileKind.Memory, FileKind.Package), f => Lineage(f));
        Section(writer, "Stale", graph.Files.Where(f => f.State == FileState.Stale), f => f.Note);
        Section(writer, "Discs", graph.Files.Where(f => f.Kind == FileKind.Disc), f => f.Uses.Exists(u => u.Role == FileRole.Disc) ? Vms(f, graph) : "in no drive");
        Lines(writer, "Missing parents of orphans", graph.Missing.Where(m => !graph.Machines[m.Machine].IsVm && files.GetValueOrDefault(m.From)?.State is not (FileState.Owned or FileState.Shared or FileState.Claimed)).Select(Line));
        Lines(writer, "Not opened", graph.NotOpened.SelectMany(v => v.Gaps).Select(g => $"{Printable.Of(g.Path)}  {Printable.Of(g.Detail)}"));
        writer.WriteLine();
        writer.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{graph.Machines.Count(m => m.IsVm)} VMs, {graph.Files.Count} files of VMs; {graph.Files.Count(f => f.State == FileState.Orphan)} without an owner, {graph.Files.Count(f => f.State == FileState.Stale)} stale, {graph.Missing.Count} names that lead nowhere; {graph.OtherFiles} other files"));
    }

    private static void WriteVm(
        Vm vm, bool isUnregistered, IEnumerable<(GraphFile File, FileRole Role)> own, IEnumerable<MissingFile> missing, Dictionary<string, GraphFile> files, TextWriter writer)
    {
        string guest = vm.Identity.GuestOs.Length > 0 ? "  " + Printable.Of(vm.Identity.GuestOs) : "";
        writer.WriteLine($"{Printable.Of(vm.Identity.Name)}  {vm.Identity.Power}  {Printable.Of(vm.Identity.Id)}{guest}{(isUnregistered ? "  UNREGISTERED" : "")}");
        writer.WriteLine($"  {Printable.Of(vm.Target)}");
        int number = 0;
        foreach (VmDisk disk in vm.Disks.Concat(vm.Held))
        {
            GraphFile? top = files.GetValueOrDefault(disk.Plan.Files[0].Path);
            writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  d{++number}  {Printable.Of(top?.Format ?? "")}  {Printable.Of(disk.Path)}{Mark(top)}"));
            var seen = new HashSet<GraphFile>(ReferenceEqualityComparer.Instance);
            for (GraphFile? layer = top?.Parent; layer is not null && seen.Add(layer); layer = layer.Parent)
            {
                writer.WriteLine($"    over {Printable.Of(layer.Path)}{Mark(layer)}");
            }
        }

        foreach ((GraphFile file, FileRole role) in own.Where(o => o.Role is FileRole.Memory or FileRole.Snapshot or FileRole.Disc))
        {
            writer.WriteLine($"  {Names.Of(role)}  {Printable.Of(file.Path)}");
        }

        foreach (VmSnapshot snapshot in vm.Snapshots)
        {
            writer.WriteLine($"  {(snapshot.IsCurrent ? "* " : "")}state  {Printable.Of(snapshot.Name)}");
        }

        foreach (MissingFile file in missing)
        {
            writer.WriteLine("  ! " + Line(file));
        }

        foreach (GapReport gap in vm.Gaps.Where(g => !MissingFile.IsTold(g)))
        {
            writer.WriteLine($"  ! {gap.Fault}  {Printable.Of(gap.Path)}  {Printable.Of(gap.Detail)}");
        }
    }

    private static string Mark(GraphFile? file) =>
        (file is { State: FileState.Shared or FileState.Claimed } ? $"  {Names.Of(file.State)}" : "") + (file is { Note.Length: > 0 } ? $"  ({file.Note})" : "");

    private static IEnumerable<GraphFile> Alone(OwnershipGraph graph, FileState state, params FileKind[] kinds) => graph.Files.Where(f => f.State == state && kinds.Contains(f.Kind));

    private static string Lineage(GraphFile file) =>
        (file.Parent is { } parent ? "over " + Path.GetFileName(parent.Path) : "") + (file.Note.Length > 0 ? (file.Parent is null ? "" : ", ") + file.Note : "");

    private static string Vms(GraphFile file, OwnershipGraph graph)
    {
        List<string> names = [.. file.Uses.Select(u => graph.Machines[u.Machine]).Where(m => m.IsVm).Select(m => m.Vm.Identity.Name)];
        string more = names.Count > MostNamed ? string.Create(CultureInfo.InvariantCulture, $" and {names.Count - MostNamed} more") : "";
        return string.Create(CultureInfo.InvariantCulture, $"{names.Count}: {string.Join(", ", names.Take(MostNamed))}{more}");
    }

    private static string Line(MissingFile file) =>
        $"{Faults.Name(file.Fault)}  {Printable.Of(file.Name)}  named in {Printable.Of(file.From)}"
        + (file.Candidate is { } candidate ? $"; {Printable.Of(candidate)} has that name: if it is meant, --base {Printable.Of(Path.GetDirectoryName(candidate) ?? "/")}" : "");

    private static void Section(TextWriter writer, string title, IEnumerable<GraphFile> files, Func<GraphFile, string> told) =>
        Lines(writer, title, files.Select(f => (Printable.Of(f.Path) + (f.Format.Length > 0 ? "  " + Printable.Of(f.Format) : "") + "  " + Printable.Of(told(f))).TrimEnd()));

    private static void Lines(TextWriter writer, string title, IEnumerable<string> lines)
    {
        bool isFirst = true;
        foreach (string line in lines)
        {
            if (isFirst)
            {
                writer.WriteLine();
                writer.WriteLine(title);
                isFirst = false;
            }

            writer.WriteLine("  " + line);
        }
    }
}
