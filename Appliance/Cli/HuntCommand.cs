using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep hunt</c>: where something was ever seen.</summary>
internal static class HuntCommand
{
    private const string About =
        """
        Looks for something in everything that was ever scanned.

        --sha256 H answers from what is recorded, without reading a disk: findings with that hash, and executables and scripts with it, by VM, path and days. Hashes of documents and other data are not recorded, nor those of members of archives that no rule found.

        --rule NAME answers from recorded findings (* stands for any characters).

        --rule FILE is more: a rule looks at content, which is not recorded. So every known VM's present state is read and matched with that file's rules alone, as scan does, and the answer is a scan's report. What was deleted since, earlier states and VMs that are not reachable are not looked at; the latter are gaps. Nothing of it is recorded.
        """;

    public static Command Create()
    {
        var sha256 = new Option<string?>("--sha256") { Description = "The SHA-256 of a content.", HelpName = "HASH" };
        var rule = new Option<string?>("--rule") { Description = "A YARA rule file, or a folder of them; or else the name of a rule.", HelpName = "FILE|NAME" };
        var vm = new Option<string[]>("--vm") { Description = "With --rule FILE, only VMs with this name or id. Repeatable.", HelpName = "VM" };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<FileInfo?> output = CommonOptions.Out();
        Option<int> threads = CommonOptions.Threads();
        Option<long?> memory = CommonOptions.Memory();
        Option<string[]> bases = CommonOptions.Bases();
        Option<string?> key = CommonOptions.Key();
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<bool> noProgress = CommonOptions.NoProgress();
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("hunt", About) { sha256, rule, vm, format, output, threads, memory, bases, key, state, sandbox, noProgress, configuration };
        command.Validators.Add(r =>
        {
            if (r.GetValue(sha256) is null == r.GetValue(rule) is null)
            {
                r.AddError("hunt takes either --sha256 HASH or --rule FILE|NAME.");
            }
            else if (r.GetValue(sha256) is { } hash && (hash.Length != 64 || !hash.All(char.IsAsciiHexDigit)))
            {
                r.AddError($"'{hash}' is no SHA-256: 64 hexadecimal digits.");
            }
        });
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            using Database database = FindingsCommand.Open(parsed.GetValue(state), parsed.GetValue(configuration));
            FileInfo? file = parsed.GetValue(output);
            if (parsed.GetValue(rule) is { } rules && Path.Exists(rules))
            {
                var settings = new ScanSettings
                {
                    RuleSources = [rules],
                    WithBuiltin = false,
                    StrictRules = true,
                    HashLists = [],
                    Engines = [YaraRules.EngineName],
                    EnginesAreNamed = true,
                    Threads = parsed.GetValue(threads),
                    MemoryBytes = parsed.GetValue(memory) ?? CommonOptions.DefaultMemoryBytes,
                    MatchTimeoutSeconds = 60,
                    Secrets = KeyFile.Read(parsed.GetValue(key)),
                };
                var finder = new TargetFinder(parsed.GetValue(bases) ?? [], cancellation);
                ApplianceConfiguration configured = ApplianceConfiguration.Read(parsed.GetValue(configuration));
                using Hypervisors hypervisors = Hypervisors.Of(configured, parsed.GetValue(state), parsed.GetValue(bases) ?? []);
                hypervisors.Reap();
                List<Vm> vms = Known(new HuntQueries(database).Machines(), parsed.GetValue(vm) ?? [], t => hypervisors.Find(t, finder));
                Audit.Note(parsed.GetValue(state), configured.Server, "hunt", rules, string.Create(CultureInfo.InvariantCulture, $"{vms.Count} VMs"));
                Sandbox box = Sandboxes.Open(parsed.GetValue(sandbox) ?? SandboxMode.Full);
                using TextWriter report = Outputs.OpenText(file);
                return ScanCommand.Run(vms, settings, box, null, parsed.GetRequiredValue(format), report, Outputs.IsTerminal(file), !parsed.GetValue(noProgress), cancellation);
            }

            var queries = new HuntQueries(database);
            bool isByHash = parsed.GetValue(sha256) is not null;
            HuntReport found = isByHash ? queries.ByHash(Convert.FromHexString(parsed.GetValue(sha256)!)) : queries.ByRule(parsed.GetValue(rule)!);
            using TextWriter writer = Outputs.OpenText(file);
            if (parsed.GetRequiredValue(format) == "json")
            {
                writer.WriteLine(JsonSerializer.Serialize(found, FindingJson.Default.HuntReport));
            }
            else
            {
                ResultText.Write(found, isByHash, TextConsole.Of(writer, Outputs.IsTerminal(file)));
            }

            return found.Findings.Count + found.Sightings.Count > 0 ? ExitStatus.Detected : found.NotKept.Count > 0 ? ExitStatus.Incomplete : ExitStatus.Clean;
        }));
        return command;
    }

    /// <summary>The present states of known VMs; what cannot be found any more is a VM with a gap.</summary>
    private static List<Vm> Known(IReadOnlyList<KnownMachine> machines, string[] only, Func<string, IEnumerable<Vm>> find)
    {
        List<Vm> vms = [];
        foreach (IGrouping<string, KnownMachine> target in machines
            .Where(m => m.Snapshot is null && (only.Length == 0 || only.Contains(m.Name) || only.Contains(m.VmId))).GroupBy(m => m.Target, StringComparer.Ordinal))
        {
            try
            {
                vms.AddRange(find(target.Key));
            }
            catch (Exception e) when (e is TargetException or IOException or UnauthorizedAccessException)
            {
                KnownMachine machine = target.First();
                vms.Add(new Vm(
                    target.Key, new VmReport(machine.VmId, machine.Name, "unknown", ""), [],
                    [new CoverageGap(Fault.Transport, target.Key, "target", -1, 0, string.Create(CultureInfo.InvariantCulture, $"scanned last on {machine.LastScan.UtcDateTime:yyyy-MM-dd}, and not found now: {e.Message}")).ToReport()]));
            }
        }

        return vms.Count > 0 ? vms : throw new TargetException("no such VM is known");
    }
}
