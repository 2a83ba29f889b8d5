using System.CommandLine;
using Serilog;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Appliance.Worker;
using Vmsweep.Scheduler.Jobs;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep serve</c>: runs for good, and starts sweeps when they are due.</summary>
internal static class ServeCommand
{
    public static Command Create()
    {
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        var command = new Command("serve", "Runs as a service: starts sweeps when they are due, goes on with what was interrupted, and ends leases whose owner is gone.") { configuration, state, sandbox };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            string folder = SweepCommand.StateOf(parsed.GetValue(state));
            string? file = parsed.GetValue(configuration);
            ApplianceConfiguration configured = ApplianceConfiguration.Read(file);
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            SweepLocks locks = SweepCommand.Locks(folder);
            using IDisposable mine = locks.TryTakeService() ?? throw new TargetException($"another vmsweep serve runs on the state folder {folder}");
            var watched = new WatchedConfiguration(file, configured);
            Announce(configured.Sweeps);
            List<string> options = ["--state", folder];
            Add("--config", configured.Source?.Path);
            Add("--sandbox", parsed.GetValue(sandbox)?.ToString().ToLowerInvariant());
            var processes = new SweepProcesses(Sandbox.Program, options, Say);
            var loop = new ScheduleLoop(watched.Schedules, processes, TimeProvider.System);
            using NodeSession? node = configured.Server is { } server ? NodeSession.Join(server) : null;
            using var reaper = new PeriodicReaper(() => Reap(watched.Current, folder), TimeProvider.System);
            using PeriodicReaper? joining = node is null ? null : new PeriodicReaper(
                () =>
                {
                    // What another node runs, or was running when it died, is this one's work too.
                    foreach (string sweep in Interrupted(new DatabasePlace(folder, configured.Server), watched.Current.Sweeps, locks, alsoPaused: false))
                    {
                        _ = processes.StartAsync(sweep, DateTimeOffset.MinValue, cancellation);
                    }
                },
                TimeProvider.System,
                configured.Server!.DeadAfter);
            Reap(configured, folder);
            foreach (string sweep in Interrupted(new DatabasePlace(folder, configured.Server), configured.Sweeps, locks, alsoPaused: true))
            {
                Say($"{sweep}: its last run did not come to its end");

                // Due before anything else was: where other nodes come to its end first, nothing is begun anew.
                _ = processes.StartAsync(sweep, DateTimeOffset.MinValue, cancellation);
            }

            loop.RunAsync(cancellation).GetAwaiter().GetResult();
            processes.WaitAsync().GetAwaiter().GetResult();
            return ExitStatus.Clean;

            void Add(string name, string? value) => options.AddRange(value is null ? [] : [name, value]);
        }));
        return command;
    }

    private static void Say(string line) => Console.Error.WriteLine("vmsweep: " + Printable.Of(line));

    private static void Announce(SweepConfiguration sweeps)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        List<SweepSettings> scheduled = [.. sweeps.Sweeps.Values.Where(s => s.Schedule is not null)];
        if (scheduled.Count == 0)
        {
            Say("no sweep of the configuration says \"when\": nothing is started until one does");
        }

        foreach (SweepSettings sweep in scheduled)
        {
            Say($"{sweep.Name}: {SweepChecks.When(sweep, now)}");
        }
    }

    private static void Reap(ApplianceConfiguration configured, string folder)
    {
        using Hypervisors hypervisors = Hypervisors.Of(configured, folder, []);
        hypervisors.Reap();
    }

    /// <summary>Sweeps whose last run was killed, or paused by a process that is gone. One that runs in another process goes on there.</summary>
    private static IReadOnlyList<string> Interrupted(DatabasePlace place, SweepConfiguration sweeps, SweepLocks locks, bool alsoPaused)
    {
        using SweepStore store = SweepStore.Open(place, TimeProvider.System);
        return
        [
            .. sweeps.Sweeps.Keys.Where(s => store.Last(s, 1) is [{ State: SweepStates.Running or SweepStates.Paused, IsCancelled: false } last] && (alsoPaused || last.State == SweepStates.Running) && !locks.IsRunning(s)),
        ];
    }

    /// <summary>The configuration as the file says now. One that is wrong changes nothing, and is told once.</summary>
    private sealed class WatchedConfiguration(string? file, ApplianceConfiguration first)
    {
        private ApplianceConfiguration _current = first;
        private IReadOnlyDictionary<string, CronSchedule> _schedules = SchedulesOf(first.Sweeps);
        private string _told = "";

        public ApplianceConfiguration Current => Volatile.Read(ref _current);

        public IReadOnlyDictionary<string, CronSchedule> Schedules()
        {
            try
            {
                ApplianceConfiguration read = ApplianceConfiguration.Read(file);
                _told = "";
                if (!(read.Source?.Content ?? []).AsSpan().SequenceEqual(_current.Source?.Content ?? []))
                {
                    Volatile.Write(ref _current, read);
                    _schedules = SchedulesOf(read.Sweeps);
                    Say("the configuration changed");
                    Announce(read.Sweeps);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or TargetException)
            {
                if (e.Message != _told)
                {
                    _told = e.Message;
                    Log.Warning("the configuration cannot be read again, and stays as it was: {Reason}", e.Message);
                }
            }

            return _schedules;
        }

        private static Dictionary<string, CronSchedule> SchedulesOf(SweepConfiguration sweeps) =>
            sweeps.Sweeps.Values.Where(s => s.Schedule is not null).ToDictionary(s => s.Name, s => s.Schedule!, StringComparer.Ordinal);
    }
}
