using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Inventory;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep inventory</c>: VMs, their disks and chains; of a folder also what belongs to whom.</summary>
internal static class InventoryCommand
{
    public static Command Create()
    {
        var target = new Argument<string>("TARGET") { Description = "A folder, a configured connector, or an address such as libvirt:///system." };
        Option<string> format = CommonOptions.Format("text", "json", "dot");
        Option<FileInfo?> output = CommonOptions.Out();
        Option<string[]> bases = CommonOptions.Bases();
        Option<string?> configuration = CommonOptions.Configuration();
        var registered = new Option<string?>("--registered") { Description = "A connector whose hypervisor should list the folder's VMs: those that it does not list are marked.", HelpName = "CONNECTOR" };
        var command = new Command("inventory", "Lists VMs with their power state, disks and chains; of a folder also bases that VMs share, orphans, stale files and missing parents.")
        {
            target, format, output, bases, configuration, registered,
        };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            string named = parsed.GetRequiredValue(target);
            string chosen = parsed.GetRequiredValue(format);
            using Hypervisors hypervisors = Hypervisors.Open(parsed.GetValue(configuration), "none", []);
            using IConnector? connector = hypervisors.Catalog.OfTarget(named);
            using IConnector? other = parsed.GetValue(registered) is { } name ? hypervisors.Catalog.Open(name) : null;
            if (connector is not null && (chosen == "dot" || other is not null))
            {
                throw new TargetException($"{named}: --registered and dot are of a folder's files, and this is a connector");
            }

            OwnershipGraph? graph = connector is null ? Graph(named, parsed.GetValue(bases) ?? [], cancellation) : null;
            Registration? registration = other is null ? null : new Registration(other.List());
            IReadOnlyList<InventoryVm> vms = connector?.List() ?? [.. graph!.Machines.Select(m => GraphReport.Of(m, registration?.Has(m)))];
            using TextWriter writer = Outputs.OpenText(parsed.GetValue(output));
            switch (chosen)
            {
                case "json":
                    writer.WriteLine(JsonSerializer.Serialize(new InventoryReport(named, vms) { Graph = graph is null ? null : GraphReport.Of(graph) }, InventoryJson.Default.InventoryReport));
                    break;
                case "dot":
                    GraphDot.Write(graph!, writer);
                    break;
                default:
                    if (graph is not null)
                    {
                        GraphText.Write(graph, registration, writer);
                    }
                    else
                    {
                        Write(vms, writer);
                    }

                    break;
            }

            return ExitStatus.Clean;
        }));
        return command;
    }

    /// <summary>Of a single file, the folder's graph is more than was asked for.</summary>
    private static OwnershipGraph Graph(string target, IReadOnlyList<string> bases, CancellationToken cancellation) =>
        Directory.Exists(target)
            ? new DatastoreReader(bases, cancellation).Read(target)
            : DatastoreReader.Of(target, bases, cancellation);

    private static void Write(IReadOnlyList<InventoryVm> vms, TextWriter writer)
    {
        foreach (InventoryVm vm in vms)
        {
            string guest = vm.GuestOs.Length > 0 ? "  " + Printable.Of(vm.GuestOs) : "";
            writer.WriteLine($"{Printable.Of(vm.Name)}  {vm.Power}  {Printable.Of(vm.Id)}{(vm.Host.Length > 0 ? "  on " + Printable.Of(vm.Host) : "")}{guest}");
            foreach (InventoryDisk disk in vm.Disks)
            {
                writer.WriteLine($"  {Printable.Of(disk.Name)}  {Printable.Of(disk.Format)}  {Printable.Of(disk.Source)}{(disk.IsReadOnly ? "  read-only" : "")}");
                foreach (string layer in disk.Chain.Skip(1))
                {
                    writer.WriteLine($"    over {Printable.Of(layer)}");
                }
            }
        }
    }
}

internal sealed record InventoryReport(string Target, IReadOnlyList<InventoryVm> Vms)
{
    public string Schema { get; init; } = "vmsweep.inventory/1";

    /// <summary>Whose each file of a folder is; null for a hypervisor.</summary>
    public GraphReport? Graph { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(InventoryReport))]
internal sealed partial class InventoryJson : JsonSerializerContext;
