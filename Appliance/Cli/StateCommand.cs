using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Sqlite;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep state</c>: the database itself.</summary>
internal static class StateCommand
{
    public static Command Create() => new("state", "The database of results: back-up, retention, and the log of what was done.") { BackUp(), Prune(), Audit() };

    private static Command BackUp()
    {
        var file = new Argument<FileInfo>("FILE") { Description = "Where to. An earlier back-up is replaced, no other file is." };
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command(
            "backup",
            "Copies the database into one file, as it stands at one moment, while scans and sweeps go on. To restore: end vmsweep, remove vmsweep.db, vmsweep.db-wal and vmsweep.db-shm from the state folder, and put the file there as vmsweep.db. A database on a PostgreSQL server is backed up by pg_dump.")
        {
            file, configuration, state,
        };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            using Database database = FindingsCommand.Open(parsed.GetValue(state), parsed.GetValue(configuration));
            string path = parsed.GetRequiredValue(file).FullName;
            if (database is not SqliteDatabase inFile)
            {
                throw new TargetException($"the database {database.Name} is on a PostgreSQL server: pg_dump --format=custom --file={path} DATABASE backs it up while sweeps go on, pg_restore restores it");
            }

            long bytes = inFile.BackUp(path);
            new AuditLog(database, TimeProvider.System).Note("backup", path, string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes"));
            Console.WriteLine($"{Printable.Of(path)}: {Sizes.Show(bytes)}");
            return ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Prune()
    {
        Option<int?> scans = Days("--scan-days", $"How long scans, runs of sweeps, and findings and sightings that are gone are kept; {Retention.DefaultScanDays} unless the configuration says otherwise.");
        Option<int?> records = Days("--record-days", $"How long coverage by day, the audit log, and VMs that are not scanned any more are kept; {Retention.DefaultRecordDays} unless the configuration says otherwise.");
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("prune", "Removes old results now; scans do so once a day. Findings that are not gone are never old.") { scans, records, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            Retention kept = ApplianceConfiguration.Read(parsed.GetValue(configuration)).Retention;
            using Database database = FindingsCommand.Open(parsed.GetValue(state), parsed.GetValue(configuration));
            Removed removed = new RetentionStore(database, TimeProvider.System).Run(new Retention(parsed.GetValue(scans) ?? kept.ScanDays, parsed.GetValue(records) ?? kept.RecordDays));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"removed {removed.Scans} scans, {removed.Findings} findings, {removed.Runs} runs, {removed.Places} places, {removed.CoverageDays} days of coverage, {removed.AuditEntries} entries of the audit log, {removed.Machines} VMs"));
            return ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Audit()
    {
        var most = new Option<int>("--most") { Description = "The latest so many.", DefaultValueFactory = _ => 100, HelpName = "N" };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("audit", "Lists what was done, by whom: scans, acts on VMs, changes of the configuration, back-ups, retention. Each entry is sealed over the one before it; a broken seal is told, and the status is 3.") { most, format, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            using Database database = FindingsCommand.Open(parsed.GetValue(state), parsed.GetValue(configuration));
            var audit = new AuditLog(database, TimeProvider.System);
            IReadOnlyList<AuditEntry> entries = audit.Last(Math.Clamp(parsed.GetValue(most), 1, 1_000_000));
            if (parsed.GetRequiredValue(format) == "json")
            {
                Console.WriteLine(JsonSerializer.Serialize(entries, AuditJson.Default.IReadOnlyListAuditEntry));
            }
            else
            {
                foreach (AuditEntry entry in entries.Reverse())
                {
                    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{entry.At.UtcDateTime:yyyy-MM-dd HH:mm:ss'Z'}  {Printable.Of(entry.Who)}  {Printable.Of(entry.Act)}  {Printable.Of(entry.Subject)}  {Printable.Of(entry.Detail)}"));
                }
            }

            if (audit.FirstBroken() is not { } broken)
            {
                return ExitStatus.Clean;
            }

            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"vmsweep: the audit log was changed: at or before entry {broken.Id} of {broken.At.UtcDateTime:yyyy-MM-dd HH:mm:ss'Z'}"));
            return ExitStatus.Incomplete;
        }));
        return command;
    }

    private static Option<int?> Days(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "DAYS",
        Validators = { r => { if (r.GetValueOrDefault<int?>() is < 1 or > 36_500) { r.AddError($"{name} takes a number of days from 1 to 36500."); } } },
    };
}
