using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep signatures test</c>: what a bundle would falsely accuse, and what its rules cost.</summary>
internal static class SignaturesTestCommand
{
    private const int MostShown = 20;

    public static Command Create()
    {
        var good = new Option<string>("--good") { Description = "A folder of files that are known to be good.", HelpName = "DIR", Required = true };
        var file = new Option<string?>("--bundle") { Description = "A bundle, signed or not, or a folder of rules; by default the active bundle, without one the built-in rules.", HelpName = "FILE|DIR" };
        Option<long?> sample = CommonOptions.Bytes("--sample", "How much of the files each rule alone is measured on; 16M by default.");
        Option<long?> memory = CommonOptions.Memory();
        var timeout = new Option<int>("--match-timeout") { Description = "Seconds that matching one file may take; beyond it is a gap.", DefaultValueFactory = _ => 60, HelpName = "SECONDS" };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<FileInfo?> output = CommonOptions.Out();
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        var command = new Command("test", "Runs a bundle over known good files: false alarms (status 1), and each rule's cost, the slowest first.") { good, file, sample, memory, timeout, format, output, state, sandbox };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            string folder = Path.GetFullPath(parsed.GetRequiredValue(good));
            if (!Path.Exists(folder))
            {
                throw new TargetException($"{folder}: not found");
            }

            using var run = new RunFolder();
            using OpenBundle? bundle = Open(parsed.GetValue(file), parsed.GetValue(state), run.File("bundle"));
            IReadOnlyList<string> rules = bundle?.FolderOf(PartKind.Yara) is { } inBundle ? [inBundle] : bundle is null && parsed.GetValue(file) is { } plain ? [Path.GetFullPath(plain)] : [];
            Sandbox box = Sandboxes.Open(parsed.GetValue(sandbox) ?? SandboxMode.Full);
            var trial = new Trial(box, new WorkerProcess(box.WorkerStart, ScanRun.Silence), cancellation);
            long held = parsed.GetValue(memory) ?? CommonOptions.DefaultMemoryBytes;
            trial.Run(bundle?.PartsFolder, rules, bundle is null && rules.Count == 0, bundle?.SetOf(PartKind.Hashes), bundle?.FilesOf(PartKind.Hashes) ?? [], folder, parsed.GetValue(sample) ?? 16 << 20, held, parsed.GetValue(timeout));
            if (bundle?.FilesOf(PartKind.ClamAv) is { Count: > 0 } clamAv)
            {
                trial.RunClamAv(clamAv, folder);
            }

            using TextWriter writer = Outputs.OpenText(parsed.GetValue(output));
            var report = new RuleTestReport(
                trial.FalseAlarms.Count > 0 ? "false-alarms" : trial.Gaps.Count > 0 ? "incomplete" : "clean",
                bundle is null ? null : BundleReport.Of(bundle, TimeProvider.System.GetUtcNow()),
                trial.Result!,
                trial.FalseAlarms,
                trial.Gaps);
            if (parsed.GetRequiredValue(format) == "json")
            {
                writer.WriteLine(JsonSerializer.Serialize(report, SignaturesJson.Default.RuleTestReport));
            }
            else
            {
                Write(report, writer);
            }

            return trial.FalseAlarms.Count > 0 ? ExitStatus.Detected : trial.Gaps.Count > 0 || trial.Result!.RuleFaults.Count > 0 ? ExitStatus.Incomplete : ExitStatus.Clean;
        }));
        return command;
    }

    /// <summary>What is tried need not be signed: nothing of it becomes active.</summary>
    private static OpenBundle? Open(string? file, string? state, string apart)
    {
        if (file is not null)
        {
            return !Path.Exists(file) ? throw new TargetException($"{file}: not found")
                : SignaturesAddCommand.IsBundle(file) ? new BundleStore(apart + "-store", TimeProvider.System).OpenApart(Path.GetFullPath(file), apart, mayBeUnsigned: true)
                : null;
        }

        return StateFolder.Of(state) is null ? null : SignaturesCommand.Open(state).Store.OpenActive();
    }

    private static void Write(RuleTestReport report, TextWriter output)
    {
        RuleTrial trial = report.Trial;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{report.FalseAlarms.Count:N0} false alarms in {trial.Files:N0} files, {Sizes.Show(trial.Bytes)}"));
        foreach (FindingReport alarm in report.FalseAlarms)
        {
            output.WriteLine($"  {Printable.Of(alarm.Rule)}  {Printable.Of(alarm.Path)}");
        }

        foreach (GapReport gap in report.Gaps)
        {
            output.WriteLine($"  not matched: {gap.Fault}: {Printable.Of(gap.Path)}: {Printable.Of(gap.Detail)}");
        }

        foreach (RuleFaultReport fault in trial.RuleFaults)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  left out: {Printable.Of(fault.File)}:{fault.Line}: {Printable.Of(fault.Message)}"));
        }

        output.WriteLine();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{trial.Measured:N0} rules, each alone over {trial.SampleFiles:N0} files, {Sizes.Show(trial.SampleBytes)}; a rule that looks for nothing takes {trial.BaselineMilliseconds:0.0} ms"));
        foreach (RuleCostReport rule in trial.Rules.Take(MostShown))
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {rule.Milliseconds,10:0.0} ms  {Printable.Of(rule.Rule)}  {Printable.Of(rule.File)}:{rule.Line}{(rule.Fault.Length > 0 ? "  " + Printable.Of(rule.Fault) : "")}"));
        }

        if (trial.Measured > MostShown)
        {
            output.WriteLine("  --format json lists all");
        }
    }

    /// <summary>One job of a worker, and what it said.</summary>
    private sealed class Trial(Sandbox sandbox, IWorker worker, CancellationToken cancellation)
    {
        public List<FindingReport> FalseAlarms { get; } = [];

        public List<GapReport> Gaps { get; } = [];

        public RuleTrial? Result { get; private set; }

        /// <param name="root">What files are named relative to; null: as they lie.</param>
        /// <param name="set">Compiled of the lists of hashes; null: there is none.</param>
        public void Run(string? root, IReadOnlyList<string> rules, bool isBuiltin, string? set, IReadOnlyList<string> hashes, string good, long sampleBytes, long memoryBytes, int timeoutSeconds)
        {
            List<(string Host, string Inside)> sources = [.. rules.Select((r, i) => (r, sandbox.Inside(r, $"rules/{i}/{Path.GetFileName(r)}")))];
            using var run = new RunFolder();
            HashSetFiles sets = HashSetFiles.Make(HashSetKind.Bad, set is null ? hashes : [], set is null ? [] : [set], run.File("hashes"), cancellation);
            List<(string Host, string Inside)> lists = [.. sets.Paths.Select((h, i) => (h, sandbox.Inside(h, $"hashes/{i}/{Path.GetFileName(h)}")))];
            (string Host, string Inside) folder = (good, sandbox.Inside(good, "good"));
            var job = new TryRulesJob([.. sources.Select(s => s.Inside)], isBuiltin, [.. lists.Select(l => l.Inside)], folder.Inside, sampleBytes, memoryBytes, timeoutSeconds)
            {
                Limits = DiskLimits.ForReading with { HeapBytes = DiskLimits.ForReading.HeapBytes + (2 * memoryBytes) + sampleBytes },
            };
            WorkerOutcome outcome = worker.Run(job, [.. sources, .. lists, folder], OnEvent, null, cancellation);
            cancellation.ThrowIfCancellationRequested();
            if (outcome.End != WorkerEnd.Done || Result is null)
            {
                throw new JobFailedException(outcome.End == WorkerEnd.Failed ? OnHost(outcome.Detail) : "the rules could not be tried: " + outcome.Detail);
            }

            Result = Result with
            {
                Rules = [.. Result.Rules.Select(r => r with { File = OnHost(r.File) })],
                RuleFaults = [.. Result.RuleFaults.Select(f => f with { File = OnHost(f.File) }), .. sets.Faults.Select(f => f with { File = OnRoot(f.File) })],
            };

            string OnHost(string text) => sources.Concat(lists).Aggregate(text, (t, b) => t.Replace(b.Inside, OnRoot(b.Host), StringComparison.Ordinal));

            string OnRoot(string path) => root is null ? path : Path.GetRelativePath(root, path);
        }

        /// <summary>Of these one false alarm for each file, and no cost.</summary>
        public void RunClamAv(IReadOnlyList<string> parts, string good)
        {
            if (!ClamAvCheck.IsPossible)
            {
                Gaps.Add(new GapReport(Faults.Name(Fault.Unsupported), good, ClamdEngine.EngineName, -1, 0, "the parts for ClamAV were not tried: clamscan is missing; apt-get install -y clamav"));
                return;
            }

            (IReadOnlyList<(string Path, string Signature)> alarms, string fault) = ClamAvCheck.Try(parts, good, cancellation);
            foreach ((string path, string signature) in alarms)
            {
                string name = File.Exists(good) ? Path.GetFileName(good) : Path.GetRelativePath(good, path);
                FalseAlarms.Add(FindingReports.Of(new VerdictFinding(ClamdEngine.DetectionOf(signature)), [name], new FileInfo(path) is { Exists: true } file ? file.Length : 0, ""));
            }

            if (fault.Length > 0)
            {
                Gaps.Add(new GapReport(Faults.Name(Fault.Unsupported), good, ClamdEngine.EngineName, -1, 0, fault));
            }
        }

        private void OnEvent(WorkerEvent message)
        {
            switch (message)
            {
                case FindingEvent finding:
                    FalseAlarms.Add(finding.Finding);
                    break;
                case GapEvent gap:
                    Gaps.Add(gap.Gap);
                    break;
                case RulesTriedEvent tried:
                    Result = tried.Trial;
                    break;
            }
        }
    }
}
