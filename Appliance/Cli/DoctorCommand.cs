using System.CommandLine;
using System.Data.Common;
using System.Runtime.InteropServices;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep doctor</c>: what is missing or reduced on this machine, and the command that mends it.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        Option<string?> clamd = CommonOptions.Clamd();
        var hashes = new Option<string[]>("--hashes") { Description = "A compiled hash set to be checked to its end. Repeatable.", HelpName = "FILE" };
        var knownGood = new Option<string[]>("--known-good") { Description = "The same of known-good hashes. Repeatable.", HelpName = "FILE" };
        Option<string?> state = CommonOptions.State();
        Option<string?> configuration = CommonOptions.Configuration();
        var connector = new Option<string?>("--connector") { Description = "One configured connector alone.", HelpName = "NAME" };
        var dryRun = new Option<bool>("--dry-run") { Description = "With --connector: tries all that a scan needs, up to where something would be changed; no VM is touched." };
        var command = new Command("doctor", "Says what is missing or reduced on this machine, and how to mend it.") { clamd, hashes, knownGood, state, configuration, connector, dryRun };
        command.SetAction((parsed, _) => CommandFailure.Guard(() => parsed.GetValue(connector) is { } one ? Try(one, parsed.GetValue(dryRun), ApplianceConfiguration.Read(parsed.GetValue(configuration))) : Run(
            parsed.GetValue(clamd), parsed.GetValue(hashes) ?? [], parsed.GetValue(knownGood) ?? [], StateFolder.Of(parsed.GetValue(state)), ApplianceConfiguration.Read(parsed.GetValue(configuration)))));
        return command;
    }

    private static int Try(string name, bool isRehearsed, ApplianceConfiguration configuration)
    {
        using IConnector opened = new ConnectorCatalog(configuration, TimeProvider.System).Open(name);
        bool isSound = true;
        IReadOnlyList<ConnectorCheck> checks;
        try
        {
            checks = isRehearsed ? opened.Rehearse() : [new ConnectorCheck(name, true, opened.Check(), "")];
        }
        catch (IOException e)
        {
            checks = [new ConnectorCheck(name, false, e.Message, "see the message")];
        }

        foreach (ConnectorCheck check in checks)
        {
            isSound &= check.IsGood;
            Show(check.Name, check.IsGood, check.Found, check.Remedy);
        }

        return isSound ? ExitStatus.Clean : ExitStatus.Incomplete;
    }

    private static void Show(string name, bool isGood, string found, string mend)
    {
        Console.WriteLine($"{(isGood ? "ok  " : "MEND")}  {Printable.Of(name),-10}  {Printable.Of(found)}");
        if (!isGood)
        {
            Console.WriteLine($"                  {mend}");
        }
    }

    private static int Run(string? clamd, string[] hashes, string[] knownGood, string? state, ApplianceConfiguration configuration)
    {
        bool isSound = true;
        Check("processors", true, $"{Environment.ProcessorCount}, {RuntimeInformation.ProcessArchitecture}, {RuntimeInformation.FrameworkDescription}", "");
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        Check("sandbox", sandbox.IsFull, sandbox.IsFull ? "full (bubblewrap)" : "reduced: " + sandbox.Detail, Sandbox.Find("bwrap") is null ? "apt-get install -y bubblewrap" : "sysctl -w kernel.unprivileged_userns_clone=1, or run as root");
        (bool works, string worker) = TryWorker(sandbox);
        Check("worker", works, worker, "see the message; with --sandbox reduced it runs without namespaces");
        if (configuration.Server is { } server)
        {
            (bool isThere, string database) = Database(server);
            Check("database", isThere, database, "see the message; until then nothing is recorded, and no sweep runs");
        }

        (bool isCurrent, string signatures, string remedy) = Signatures(state);
        Check("signatures", isCurrent, signatures, remedy);
        clamd ??= configuration.ClamAv?.Socket;
        (bool isSet, string daemon, string start) = EngineChecks.Clamd(clamd ?? ClamdOptions.DefaultSocket, configuration.ClamAv?.DatabaseFolder ?? ClamdState.DefaultDatabaseFolder);
        Check("clamav", isSet || (clamd is null && !File.Exists(ClamdOptions.DefaultSocket)), isSet || clamd is not null ? daemon : $"not in use: {daemon}", start);
        if (ClamAvPartsOf(state, clamd, configuration.ClamAv) is { } parts)
        {
            Check("clamav", parts.IsLoaded, $"signatures of the bundle: {parts.Detail}", "vmsweep signatures update, or add the bundle again");
        }

        foreach ((string path, HashSetKind kind) in hashes.Select(h => (h, HashSetKind.Bad)).Concat(knownGood.Select(k => (k, HashSetKind.KnownGood))))
        {
            (bool isWhole, string set) = EngineChecks.HashSet(path, kind);
            Check("hashes", isWhole, set, "build it again from its lists");
        }

        var catalog = new ConnectorCatalog(configuration, TimeProvider.System);
        foreach (ConnectorSettings connector in catalog.Configured)
        {
            try
            {
                _ = connector.Secret?.Read();
                using IConnector opened = catalog.Open(connector.Name);
                Check(connector.Name, true, opened.Check(), "");
            }
            catch (IOException e)
            {
                Check(connector.Name, false, e.Message, $"see the message; the connector's address is {Printable.Of(connector.Address.ToString())}");
            }
        }

        foreach (SweepSettings sweep in configuration.Sweeps.Sweeps.Values)
        {
            (bool isReady, string found, string mend) = SweepChecks.Of(sweep, TimeProvider.System.GetUtcNow());
            Check(sweep.Name, isReady, found, mend);
        }

        return isSound ? ExitStatus.Clean : ExitStatus.Incomplete;

        void Check(string name, bool isGood, string found, string mend)
        {
            isSound &= isGood;
            Show(name, isGood, found, mend);
        }
    }

    /// <summary>Logs in, and brings the schema to this version's, as the first scan would.</summary>
    private static (bool IsThere, string Detail) Database(PostgresSettings server)
    {
        try
        {
            using var database = PostgresDatabase.Open(server, DatabasePart.Results, isDurable: true);
            return (true, database.About());
        }
        catch (Exception e) when (e is IOException or DbException)
        {
            return (false, e.Message);
        }
    }

    /// <summary>The bundle that scans would use.</summary>
    private static (bool IsCurrent, string Detail, string Remedy) Signatures(string? state)
    {
        if (state is null)
        {
            return (true, "built-in rules: there is no state folder", "");
        }

        try
        {
            using OpenBundle? bundle = new BundleStore(StateFolder.Signatures(state), TimeProvider.System).OpenActive();
            DateTimeOffset now = TimeProvider.System.GetUtcNow();
            return bundle is null
                ? (true, "built-in rules: there is no bundle", "")
                : (!bundle.IsExpired(now), $"{bundle.Manifest}, {(bundle.IsExpired(now) ? "EXPIRED on" : "until")} {bundle.Manifest.Expires.UtcDateTime:yyyy-MM-dd}{(bundle.Signer is null ? ", not signed" : "")}", "vmsweep signatures update");
        }
        catch (Exception e) when (e is BundleException or IOException or UnauthorizedAccessException)
        {
            return (false, e.Message, "vmsweep signatures update, or add a bundle by hand; rollback goes back to the previous one");
        }
    }

    /// <summary>Whether what the bundle has for ClamAV takes part; null where it has nothing or nobody uses ClamAV.</summary>
    private static ClamAvPartsReport? ClamAvPartsOf(string? state, string? clamd, ClamAvSettings? settings)
    {
        StoredBundle? active = state is null ? null : new BundleStore(StateFolder.Signatures(state), TimeProvider.System).List().FirstOrDefault(b => b.IsActive);
        return active?.Manifest is not { } manifest ? null
            : new ClamAvParts(clamd is null ? settings : new ClamAvSettings(clamd, settings?.DatabaseFolder), CancellationToken.None).Look(active.Id, manifest);
    }

    /// <summary>Starts a worker for real and lets it compile the built-in rules, which takes libyara.</summary>
    private static (bool Works, string Detail) TryWorker(Sandbox sandbox)
    {
        string rules = "";
        var job = new CompileJob([], Builtin: true, Strict: true) { Limits = DiskLimits.ForReading };
        WorkerOutcome outcome = new WorkerProcess(sandbox.WorkerStart, TimeSpan.FromSeconds(30)).Run(
            job, [], message => rules = message is CompiledEvent compiled ? $"{compiled.Engines[0].Name} {compiled.Engines[0].Version}, {compiled.Engines[0].Rules} built-in rules compiled in the sandbox" : rules, _ => { }, CancellationToken.None);
        return outcome.End == WorkerEnd.Done ? (true, rules) : (false, outcome.Detail);
    }
}
