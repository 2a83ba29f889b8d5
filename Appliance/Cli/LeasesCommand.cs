using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep leases</c>: what this product has open on hypervisors.</summary>
internal static class LeasesCommand
{
    public static Command Create() => new("leases", "What vmsweep has open on hypervisors, and how to end it.") { List(), Reap() };

    private static Command List()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("list", "Lists leases: backups, overlays and exports that belong to scans, and checkpoints and bitmaps that scans with --changed leave.") { format, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using Hypervisors hypervisors = Hypervisors.Open(parsed.GetValue(configuration), parsed.GetValue(state), []);
            IReadOnlyList<(LeaseRecord Record, bool IsHeld)> leases = hypervisors.Journal.List();
            if (parsed.GetRequiredValue(format) == "json")
            {
                Console.WriteLine(JsonSerializer.Serialize([.. leases.Select(l => l.Record)], LeaseJson.Default.IReadOnlyListLeaseRecord));
                return ExitStatus.Clean;
            }

            foreach ((LeaseRecord lease, bool isHeld) in leases)
            {
                string owner = lease.IsKept ? "kept" : isHeld ? "in use" : "left behind";
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{lease.Id}  {lease.Created:yyyy-MM-dd HH:mm:ss'Z'}  {lease.Kind,-18}  {owner,-11}  {Printable.Of(lease.VmName)}  {Printable.Of(lease.Connector)}"));
            }

            return ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Reap()
    {
        var id = new Argument<string?>("LEASE") { Description = "Only this one, also when it was kept.", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("reap", "Ends leases whose scan is gone. Every scan does so when it starts.") { id, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            using Hypervisors hypervisors = Hypervisors.Open(parsed.GetValue(configuration), parsed.GetValue(state), []);
            Guid? only = parsed.GetValue(id) is not { } named ? null : Guid.TryParse(named, out Guid lease) ? lease : throw new TargetException($"{named}: no lease's id");
            IReadOnlyList<(LeaseRecord Record, string? Failure)> reaped = hypervisors.Reap(only);
            if (only is not null && reaped.Count == 0)
            {
                throw new TargetException(hypervisors.Journal.List().Any(l => l.Record.Id == only) ? $"{only}: its scan still runs" : $"{only}: there is no such lease");
            }

            foreach ((LeaseRecord record, string? failure) in reaped)
            {
                Console.WriteLine($"{record.Id}  {Printable.Of(record.VmName)}: {(failure is null ? "ended" : Printable.Of(failure))}");
            }

            return reaped.Any(r => r.Failure is not null) ? ExitStatus.Incomplete : ExitStatus.Clean;
        }));
        return command;
    }
}
