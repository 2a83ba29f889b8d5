using System.CommandLine;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Worker;
using Vmsweep.Scheduler.Triggers;
using Vmsweep.Signatures.ClamAv;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep sweep run</c> and <c>resume</c>.</summary>
internal static class SweepRunCommand
{
    public static Command Create() => Create("run", "Runs a sweep; one that did not come to its end goes on.", isResume: false);

    public static Command CreateResume() => Create("resume", "Goes on with a sweep's run that was interrupted, killed or paused by its window.", isResume: true);

    private static Command Create(string name, string description, bool isResume)
    {
        var named = new Argument<string>("NAME") { Description = isResume ? "A sweep of the configuration, or a run." : "A sweep of the configuration." };
        var anew = new Option<bool>("--new") { Description = "Begins a new run, and leaves what an earlier one did not scan." };
        var now = new Option<bool>("--now") { Description = "Runs whatever its window says." };
        var window = new Option<bool>("--wait-for-window") { Description = "Waits for its window, and where that closes for the next one." };
        var schedule = new Option<bool>("--wait-for-schedule") { Description = "Waits until it is due." };
        var due = new Option<DateTimeOffset?>("--due") { Hidden = true };
        Option<string> format = CommonOptions.Format([.. SweepText.Formats]);
        Option<FileInfo?> output = CommonOptions.Out();
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<bool> noProgress = CommonOptions.NoProgress();
        var command = new Command(name, description) { named, now, window, format, output, configuration, state, sandbox, noProgress };
        if (!isResume)
        {
            command.Add(anew);
            command.Add(schedule);
            command.Add(due);
        }

        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            string folder = SweepCommand.StateOf(parsed.GetValue(state));
            ApplianceConfiguration configured = ApplianceConfiguration.Read(parsed.GetValue(configuration));
            SweepConfiguration sweeps = configured.Sweeps;
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            var place = new DatabasePlace(folder, configured.Server);
            using SweepStore store = SweepStore.Open(place, TimeProvider.System);
            using ResultLog results = ResultLog.Open(place, TimeProvider.System, configured.Retention) ?? throw new SweepStoreException("what a sweep finds cannot be recorded; the log says why");
            string sweepName = parsed.GetRequiredValue(named);
            sweepName = isResume && !sweeps.Sweeps.ContainsKey(sweepName) ? SweepCommand.Find(store, sweepName).Sweep : sweepName;
            SweepSettings sweep = sweeps.Sweeps.GetValueOrDefault(sweepName)
                ?? throw new TargetException($"there is no sweep \"{sweepName}\" in the configuration; there {(sweeps.Sweeps.Count > 0 ? "are " + string.Join(", ", sweeps.Sweeps.Keys) : "is none")}");
            SweepLocks locks = SweepCommand.Locks(folder);
            using IDisposable mine = locks.TryTakeSweep(sweep.Name) ?? throw new TargetException($"{sweep.Name} runs already, in another process; vmsweep sweep show {sweep.Name}");
            var options = new RunOptions(parsed.GetValue(now), parsed.GetValue(window));
            if (!isResume && parsed.GetValue(schedule))
            {
                WaitUntil(sweep.Schedule?.After(TimeProvider.System.GetUtcNow()) ?? throw new TargetException($"{sweep.Name} has no schedule: \"when\" is missing"), sweep.Zone, cancellation);
            }

            WaitForWindow(sweep, options, cancellation);
            using Hypervisors hypervisors = Hypervisors.Of(configured, folder, sweep.What.Bases);
            hypervisors.Reap();
            using PeriodicReaper reaper = hypervisors.ReapPeriodically();
            using NodeSession? node = place.Server is { } server ? NodeSession.Join(server) : null;
            using VmClaims? claims = node is null ? null : VmClaims.Open(node);
            IReadOnlyList<SweepVm> listed = new SweepInventory(hypervisors.Catalog, hypervisors.Journal, hypervisors.ReapVm, sweeps.Tenants, cancellation).List(sweep);
            if (configured.Source is { } source)
            {
                results.NoteConfiguration(source.Path, source.Content);
            }

            string run;
            using (claims?.Planning(sweep.Name, cancellation))
            {
                string? unfinished = Unfinished(store, sweep.Name, isResume, !isResume && parsed.GetValue(anew), claims);
                if (unfinished is null && claims is not null && !isResume && parsed.GetValue(due) is { } at && store.Last(sweep.Name, 1) is [{ } last] && last.Begun >= at)
                {
                    Console.Error.WriteLine($"vmsweep: what was due at {SweepChecks.Show(at, sweep.Zone)} has been done by other nodes: {last.Id}");
                    return ExitStatus.Clean;
                }

                run = unfinished ?? SweepRunner.Plan(sweep, store, listed, TimeProvider.System);
                node?.Work(run, isIdle: false);
                results.Note(unfinished is null ? "sweep run" : "sweep resume", sweep.Name, unfinished ?? "");
            }

            results.Save(Report(store, run));
            Sandbox box = Sandboxes.Open(parsed.GetValue(sandbox) ?? SandboxMode.Full);
            using ScanSignatures signatures = ScanSignatures.Choose(Existing(sweep.Signatures.Rules), Existing(sweep.Signatures.Hashes), sweep.Signatures.WithBuiltin, [], folder, TimeProvider.System);
            var weight = new WorkerWeight(sweep.Limits.Nice, sweep.Limits.IoClass);
            var worker = new WorkerProcess((binds, heap) => weight.Put(box.WorkerStart(binds, heap)), ScanRun.Silence);
            using var scanner = new WorkerScanner(SettingsOf(sweep, signatures, place, configured.ClamAv), box, worker, TimeProvider.System) { Bases = listed.SelectMany(v => v.Parents).ToHashSet(StringComparer.Ordinal) };
            var line = new SweepProgressLine(!parsed.GetValue(noProgress), sweep.Zone);
            using var runner = new SweepRunner(sweep, store, locks, scanner, results, TimeProvider.System, line, options, claims);
            try
            {
                runner.Run(run, listed, cancellation);
            }
            finally
            {
                line.Clear();
                results.Save(Report(store, run));
            }

            SweepReport report = results.Complete(Report(store, run));
            FileInfo? file = parsed.GetValue(output);
            using TextWriter writer = Outputs.OpenText(file);
            SweepText.Write(report, parsed.GetRequiredValue(format), writer, Outputs.IsTerminal(file));
            return report.Verdict switch { "detected" => ExitStatus.Detected, "clean" => ExitStatus.Clean, _ => ExitStatus.Incomplete };
        }));
        return command;
    }

    private static SweepReport Report(SweepStore store, string run) => SweepVmReports.Of(store.Find(run)!, [.. store.Vms(run).Select(v => v.Report)]);

    /// <summary>The run to go on with; null for a new one.</summary>
    private static string? Unfinished(SweepStore store, string sweep, bool isResume, bool isNew, VmClaims? claims)
    {
        SweepRunRow? last = store.Last(sweep, 1) is [var latest] ? latest : null;
        bool isOpen = last is { State: SweepStates.Running or SweepStates.Paused or SweepStates.Failed, IsCancelled: false };
        if (isResume)
        {
            return isOpen ? last!.Id : throw new TargetException($"{sweep}: {(last is null ? "it never ran" : $"its last run is {(last.IsCancelled ? SweepStates.Cancelled : last.State)}")}; vmsweep sweep run {sweep}");
        }

        if (isOpen && isNew)
        {
            if (claims?.IsShared(last!.Id) == true)
            {
                throw new TargetException($"{last!.Id} runs on other nodes; vmsweep sweep cancel {sweep} ends it");
            }

            store.SetState(last!.Id, SweepStates.Cancelled, "a new run was begun in its place", TimeProvider.System.GetUtcNow());
            return null;
        }

        if (isOpen)
        {
            Console.Error.WriteLine(claims?.IsShared(last!.Id) == true ? $"vmsweep: joins other nodes in {last!.Id}" : $"vmsweep: goes on with {last!.Id}, which did not come to its end (--new begins anew)");
        }

        return isOpen ? last!.Id : null;
    }

    private static ScanSettings SettingsOf(SweepSettings sweep, ScanSignatures signatures, DatabasePlace place, ClamAvSettings? clamAv)
    {
        SweepSignatures of = sweep.Signatures;
        string? daemon = of.ClamdSocket ?? clamAv?.Socket;
        return new ScanSettings
        {
            RuleSources = signatures.Rules,
            WithBuiltin = signatures.WithBuiltin,
            StrictRules = false,
            HashLists = signatures.HashLists,
            StoredHashSets = signatures.HashSets,
            KnownGood = [.. Existing(of.KnownGood), .. signatures.KnownGoodLists],
            StoredKnownGood = signatures.KnownGoodSets,
            Engines = of.Engines.Count > 0 ? of.Engines : [.. EngineNames.All.Where(n => n != ClamdEngine.EngineName || daemon is not null)],
            EnginesAreNamed = of.Engines.Count > 0,
            ClamdSocket = daemon ?? ClamdOptions.DefaultSocket,
            ClamdDatabaseFolder = clamAv?.DatabaseFolder ?? ClamdState.DefaultDatabaseFolder,
            Threads = sweep.Limits.Threads,
            MemoryBytes = sweep.Limits.MemoryBytes,
            MatchTimeoutSeconds = 60,
            StateFolder = place.Folder,
            Server = place.Server,
            ScanMemory = sweep.Memory != MemoryChoice.No,
            ScanRunningMemory = sweep.Memory == MemoryChoice.Running,
            OnlyChanges = sweep.OnlyChanges,
            RecheckShare = sweep.RecheckShare,
            Bundle = signatures.Bundle,
            Allow = signatures.Allow,
            Faults = signatures.Faults,
        };
    }

    private static void WaitForWindow(SweepSettings sweep, RunOptions options, CancellationToken cancellation)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        if (options.IgnoresWindow || sweep.Windows.IsOpen(now))
        {
            return;
        }

        OpenSpan next = sweep.Windows.From(now) ?? throw new TargetException($"{sweep.Name}: its window does not open again");
        if (!options.WaitsForWindow)
        {
            throw new TargetException($"{sweep.Name}: its window opens at {SweepChecks.Show(next.Start, sweep.Zone)}; --wait-for-window waits for it, --now does not ask for it");
        }

        WaitUntil(next.Start, sweep.Zone, cancellation);
    }

    private static void WaitUntil(DateTimeOffset moment, TimeZoneInfo zone, CancellationToken cancellation)
    {
        Console.Error.WriteLine($"vmsweep: waits until {SweepChecks.Show(moment, zone)}");
        // In short steps: the clock may be set, and the machine may sleep.
        while (TimeProvider.System.GetUtcNow() < moment)
        {
            cancellation.WaitHandle.WaitOne(TimeSpan.FromSeconds(1));
            cancellation.ThrowIfCancellationRequested();
        }
    }

    private static IReadOnlyList<string> Existing(IReadOnlyList<string> paths) =>
        paths.FirstOrDefault(p => !Path.Exists(p)) is { } missing ? throw new TargetException($"{missing}: not found") : paths;
}
