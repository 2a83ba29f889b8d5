using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep inventory</c>: VMs, their disks and chains.</summary>
internal static class InventoryCommand
{
    public static Command Create()
    {
        var target = new Argument<string>("TARGET") { Description = "A configured connector, an address such as libvirt:///system, or a folder." };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<FileInfo?> output = CommonOptions.Out();
        Option<string[]> bases = CommonOptions.Bases();
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("inventory", "Lists VMs with their power state, disks and chains.") { target, format, output, bases, configuration };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            string named = parsed.GetRequiredValue(target);
            using IConnector? connector = Hypervisors.Open(parsed.GetValue(configuration), "none", []).Catalog.OfTarget(named);
            IReadOnlyList<InventoryVm> vms = connector?.List() ?? [.. new TargetFinder(parsed.GetValue(bases) ?? [], cancellation).Find(named).Select(Of)];
            using TextWriter writer = Outputs.OpenText(parsed.GetValue(output));
            if (parsed.GetRequiredValue(format) == "json")
            {
                writer.WriteLine(JsonSerializer.Serialize(new InventoryReport(named, vms), InventoryJson.Default.InventoryReport));
                return ExitStatus.Clean;
            }

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

            return ExitStatus.Clean;
        }));
        return command;
    }

    private static InventoryVm Of(Vm vm) =>
        new(
            vm.Identity.Id,
            vm.Identity.Name,
            vm.Identity.Power,
            "",
            Path.GetDirectoryName(vm.Target) ?? "",
            vm.Identity.GuestOs,
            [],
            [.. vm.Disks.Select((d, i) => new InventoryDisk(FormattableString.Invariant($"d{i + 1}"), "file", d.Path, d.Plan.Declared ?? "", false, [.. d.Plan.Files.Select(f => f.Name)]))]);
}

internal sealed record InventoryReport(string Target, IReadOnlyList<InventoryVm> Vms)
{
    public string Schema { get; init; } = "vmsweep.inventory/1";
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(InventoryReport))]
internal sealed partial class InventoryJson : JsonSerializerContext;
