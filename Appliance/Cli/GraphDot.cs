using System.Globalization;
using Vmsweep.Appliance.Inventory;

namespace Vmsweep.Appliance.Cli;

/// <summary>An ownership graph in Graphviz's language: VMs as boxes over their files, arrows to what a file was made over.</summary>
internal static class GraphDot
{
    public static void Write(OwnershipGraph graph, TextWriter writer)
    {
        var numbers = new Dictionary<GraphFile, int>(ReferenceEqualityComparer.Instance);
        writer.WriteLine("digraph datastore {");
        writer.WriteLine("  rankdir=LR; node [shape=note, fontsize=10];");
        for (int i = 0; i < graph.Machines.Count; i++)
        {
            if (graph.Machines[i] is { IsVm: true } machine)
            {
                Line(writer, $"  m{i} [shape=box, label={Quoted(machine.Vm.Identity.Name)}, tooltip={Quoted(machine.Vm.Target)}];");
            }
        }

        foreach (GraphFile file in graph.Files.Where(f => f.Kind is not (FileKind.Configuration or FileKind.Sidecar or FileKind.Lock)))
        {
            numbers.Add(file, numbers.Count);
            string style = file.State switch
            {
                FileState.Orphan => ", color=orange",
                FileState.Stale => ", color=gray",
                FileState.Claimed => ", color=red",
                FileState.Shared => ", color=blue",
                _ => "",
            };
            Line(writer, $"  f{numbers[file]} [label={Quoted(Path.GetFileName(file.Path))}, tooltip={Quoted(file.Path)}{style}];");
        }

        foreach ((GraphFile file, int number) in numbers)
        {
            foreach (FileUse use in file.Uses.Where(u => graph.Machines[u.Machine].IsVm && u.Role is not (FileRole.Layer or FileRole.Extent)))
            {
                Line(writer, $"  m{use.Machine} -> f{number} [label={Quoted(Names.Of(use.Role))}];");
            }

            if (file.Parent is { } parent && numbers.TryGetValue(parent, out int below))
            {
                Line(writer, $"  f{number} -> f{below};");
            }
        }

        Dictionary<string, int> byPath = numbers.ToDictionary(n => n.Key.Path, n => n.Value, StringComparer.Ordinal);
        for (int i = 0; i < graph.Missing.Count; i++)
        {
            MissingFile missing = graph.Missing[i];
            bool isImage = byPath.TryGetValue(missing.From, out int number);
            string child = (isImage ? "f" : "m") + (isImage ? number : missing.Machine).ToString(CultureInfo.InvariantCulture);
            Line(writer, $"  x{i} [label={Quoted(missing.Name)}, style=dashed, color=red];");
            Line(writer, $"  {child} -> x{i} [style=dashed];");
        }

        writer.WriteLine("}");
    }

    private static void Line(TextWriter writer, FormattableString line) => writer.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    /// <summary>A string of the language. A backslash would begin an escape of its own, such as the node's name.</summary>
    private static string Quoted(string text) => "\"" + Printable.Of(text).Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + "\"";
}
