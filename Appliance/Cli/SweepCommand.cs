using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Running;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep sweep</c>: scans of whole inventories.</summary>
internal static class SweepCommand
{
    public static Command Create() => new("sweep", "Scans whole inventories as the configuration says: what, when, and how gently.")
    {
        SweepRunCommand.Create(), SweepRunCommand.CreateResume(), List(), Show(), Cancel(),
    };

    /// <summary>The run that is meant: by its id, or the last one of a sweep.</summary>
    public static SweepRunRow Find(SweepStore store, string named) =>
        store.Find(named) ?? (store.Last(named, 1) is [var last] ? last : null) ?? throw new TargetException($"{named}: neither a run nor a sweep that ever ran; vmsweep sweep list");

    /// <summary>Where runs are kept.</summary>
    public static string StateOf(string? chosen) => StateFolder.Of(chosen) ?? throw new TargetException("a sweep is kept in the state folder; --state none keeps nothing");

    public static SweepLocks Locks(string state) => new(Path.Combine(state, "sweeps"));

    /// <summary>As it stands: one that says running may have been killed.</summary>
    public static SweepRunRow Present(SweepRunRow run, SweepLocks locks, PostgresSettings? server) =>
        run.State == SweepStates.Running && !locks.IsRunning(run.Sweep) && !IsAtWork(run.Id, server) ? run with { State = SweepStates.Paused, Detail = "its process ended; vmsweep sweep resume goes on with it" } : run;

    /// <summary>True when a node that lives takes part in a run.</summary>
    private static bool IsAtWork(string run, PostgresSettings? server)
    {
        if (server is null)
        {
            return false;
        }

        using Database database = Database.OpenOrThrow(new DatabasePlace("", server), TimeProvider.System, part: DatabasePart.Sweeps);
        return new NodeQueries(database, server).List().Any(n => n.IsAlive && n.Runs.Contains(run));
    }

    private static Command List()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("list", "Lists sweeps with their next time, and their last run.") { format, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            ApplianceConfiguration configured = ApplianceConfiguration.Read(parsed.GetValue(configuration));
            SweepConfiguration sweeps = configured.Sweeps;
            string folder = StateOf(parsed.GetValue(state));
            using SweepStore store = SweepStore.Open(new DatabasePlace(folder, configured.Server), TimeProvider.System);
            SweepLocks locks = Locks(folder);
            DateTimeOffset now = TimeProvider.System.GetUtcNow();
            List<SweepListing> listings =
            [
                .. sweeps.Sweeps.Values.Select(s =>
                {
                    SweepRunRow? last = store.Last(s.Name, 1).Select(r => Present(r, locks, configured.Server)).FirstOrDefault();
                    return new SweepListing(s.Name, s.Schedule?.Text, s.Zone.Id, s.Schedule?.After(now), SweepChecks.When(s, now), last?.Id, last?.State, last?.Begun, last?.Detail);
                }),
            ];
            if (parsed.GetRequiredValue(format) == "json")
            {
                Console.WriteLine(JsonSerializer.Serialize(listings, SweepListJson.Default.ListSweepListing));
                return ExitStatus.Clean;
            }

            foreach (SweepListing sweep in listings)
            {
                Console.WriteLine($"{Printable.Of(sweep.Name)}  {sweep.When}");
                Console.WriteLine(sweep.LastRun is null ? "  never ran" : $"  {sweep.LastRun}  {sweep.LastState}{(sweep.Detail is { } detail ? ": " + Printable.Of(detail) : "")}");
            }

            return ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Show()
    {
        var named = new Argument<string>("RUN|NAME") { Description = "A run, or a sweep for its last run." };
        Option<string> format = CommonOptions.Format([.. SweepText.Formats]);
        Option<FileInfo?> output = CommonOptions.Out();
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("show", "Shows a run: its VMs, what was found and not read, and what was held back.") { named, format, output, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            string folder = StateOf(parsed.GetValue(state));
            var place = new DatabasePlace(folder, ApplianceConfiguration.Read(parsed.GetValue(configuration)).Server);
            using SweepStore store = SweepStore.Open(place, TimeProvider.System);
            SweepRunRow run = Present(Find(store, parsed.GetRequiredValue(named)), Locks(folder), place.Server);
            using ResultLog? results = ResultLog.Open(place, TimeProvider.System);
            SweepReport report = SweepVmReports.Of(run, [.. store.Vms(run.Id).Select(v => v.Report)]);
            FileInfo? file = parsed.GetValue(output);
            using TextWriter writer = Outputs.OpenText(file);
            SweepText.Write(results?.Complete(report) ?? report, parsed.GetRequiredValue(format), writer, Outputs.IsTerminal(file));
            return ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Cancel()
    {
        var named = new Argument<string>("RUN|NAME") { Description = "A run, or a sweep for its last run." };
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("cancel", "Ends a run for good, in whatever process it runs. What was scanned stays recorded.") { named, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            string folder = StateOf(parsed.GetValue(state));
            var place = new DatabasePlace(folder, ApplianceConfiguration.Read(parsed.GetValue(configuration)).Server);
            using SweepStore store = SweepStore.Open(place, TimeProvider.System);
            SweepRunRow run = Find(store, parsed.GetRequiredValue(named));
            if (run.State is SweepStates.Finished or SweepStates.Cancelled)
            {
                throw new TargetException($"{run.Id}: it is {run.State} already");
            }

            store.Cancel(run.Id);
            using IDisposable? mine = Locks(folder).TryTakeSweep(run.Sweep);
            if (mine is null || IsAtWork(run.Id, place.Server))
            {
                Console.WriteLine($"{run.Id}: its process ends it");
                return ExitStatus.Clean;
            }

            // Nobody runs it.
            foreach (SweepVmRow vm in store.Vms(run.Id).Where(v => v.Report.State is SweepVmStates.Waiting or SweepVmStates.Running))
            {
                store.SetVm(run.Id, vm.Number, SweepVmReports.Skipped(vm.Report, "the sweep was cancelled"));
            }

            store.SetState(run.Id, SweepStates.Cancelled, "cancelled by the operator", TimeProvider.System.GetUtcNow());
            using ResultLog? results = ResultLog.Open(place, TimeProvider.System);
            results?.Note("sweep cancel", run.Sweep, run.Id);
            results?.Save(SweepVmReports.Of(store.Find(run.Id)!, [.. store.Vms(run.Id).Select(v => v.Report)]));
            Console.WriteLine($"{run.Id}: cancelled");
            return ExitStatus.Clean;
        }));
        return command;
    }
}

/// <param name="When">For people.</param>
internal sealed record SweepListing(string Name, string? Schedule, string TimeZone, DateTimeOffset? Next, string When, string? LastRun, string? LastState, DateTimeOffset? LastStartedAt, string? Detail);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(List<SweepListing>))]
internal sealed partial class SweepListJson : JsonSerializerContext;
