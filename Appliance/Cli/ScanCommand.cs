using System.CommandLine;
using System.Globalization;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep scan</c>.</summary>
internal static class ScanCommand
{
    private static readonly TimeSpan InheritedFor = TimeSpan.FromDays(7);

    public static Command Create()
    {
        var targets = new Argument<string[]>("TARGET") { Description = "Images of disks or of guest memory, VM configuration files (.vmx), folders of them, or VMs of hypervisors (NAME/VM, libvirt:///system?vm=VM, qemu:///QMP-SOCKET).", Arity = ArgumentArity.OneOrMore };
        Option<string> format = CommonOptions.Format("text", "json", "ndjson");
        Option<FileInfo?> output = CommonOptions.Out();
        var rules = new Option<string[]>("--rules") { Description = "A YARA rule file, or a folder of them; replaces the signature bundle and the built-in rules. Repeatable.", HelpName = "FILE|DIR" };
        var withBuiltin = new Option<bool>("--with-builtin") { Description = "The built-in rules as well as --rules or the signature bundle." };
        var strict = new Option<bool>("--strict-rules") { Description = "A rule that does not compile ends the command, instead of being left out and reported." };
        var hashes = new Option<string[]>("--hashes") { Description = "Hashes of malware: SHA-256, SHA-1 or MD5, one a line or CSV with a name, or a compiled set. Repeatable.", HelpName = "FILE" };
        var knownGood = new Option<string[]>("--known-good") { Description = "Hashes of contents that need not be matched: SHA-256 or SHA-1, in text (NSRL RDS too) or compiled. Repeatable.", HelpName = "FILE" };
        var ignoreKnownGood = new Option<bool>("--ignore-known-good") { Description = "Match everything, whatever is known to be good." };
        Option<string?> clamd = CommonOptions.Clamd();
        var engines = new Option<string[]>("--engine")
        {
            Description = $"Engines, separated by commas: {string.Join(", ", EngineNames.All)}; by default yara, hash with --hashes, clamav with --clamd or where it is configured. One that is named and cannot take part is a gap.",
            HelpName = string.Join(',', EngineNames.All),
            CustomParser = ParseEngines,
        };
        var allow = new Option<string[]>("--allow") { Description = "An allow list (JSON): findings that are reported, but do not count. Repeatable.", HelpName = "FILE" };
        Option<int> threads = CommonOptions.Threads();
        Option<long?> memory = CommonOptions.Memory();
        var timeout = new Option<int>("--match-timeout") { Description = "Seconds that matching one content may take; beyond it is a gap.", DefaultValueFactory = _ => 60, HelpName = "SECONDS" };
        Option<string[]> bases = CommonOptions.Bases();
        Option<string?> key = CommonOptions.Key();
        Option<string?> snapshot = CommonOptions.Snapshot();
        Option<bool> deleted = CommonOptions.Deleted();
        var archives = new ArchiveOptions();
        Option<string> memoryScan = CommonOptions.MemoryScan();
        Option<string?> state = CommonOptions.State();
        var noCache = new Option<bool>("--no-cache") { Description = "Match every content anew, and remember and record nothing of this scan; otherwise what was matched before is looked up by its SHA-256." };
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<bool> noProgress = CommonOptions.NoProgress();
        Option<string?> configuration = CommonOptions.Configuration();
        var acts = new Option<VmAct[]>("--act")
        {
            Description = "What to do to a hypervisor's VM with a finding, separated by commas: annotate, suspend, disconnect, tag (in vSphere), keep (the view, as evidence). Nothing by default.",
            HelpName = "annotate,suspend,...",
            CustomParser = ParseActs,
        };
        var changed = new Option<bool>("--changed")
        {
            Description = "Of hypervisors' VMs, read only what changed since their last scan with this option and the same signatures. Leaves a checkpoint or bitmaps on VMs of libvirt and QEMU, which leases list shows and leases reap removes.",
        };
        var inherit = new Option<bool>("--inherit") { Description = "Do not read again what shows through whole from a base that was scanned with this option in the last seven days, for whatever VM." };
        var recheck = new Option<int>("--recheck") { Description = "Of what need not be read, so many thousandths are read all the same, to see that it is what it was.", DefaultValueFactory = _ => (int)(ScanSettings.DefaultRecheckShare * 1000), HelpName = "PER-MILLE" };
        recheck.Validators.Add(r =>
        {
            if (r.GetValueOrDefault<int>() is < 0 or > 1000)
            {
                r.AddError("--recheck takes thousandths, from 0 to 1000.");
            }
        });
        var command = new Command("scan", "Scans virtual disks and says what was found and what was not read.")
        {
            targets, format, output, rules, withBuiltin, strict, hashes, knownGood, ignoreKnownGood, engines, clamd, allow, threads, memory, timeout, bases, key, snapshot, deleted, memoryScan, state, noCache,
            sandbox, noProgress, configuration, acts, changed, inherit, recheck,
        };
        archives.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            ApplianceConfiguration configured = ApplianceConfiguration.Read(parsed.GetValue(configuration));
            string? daemon = parsed.GetValue(clamd) ?? configured.ClamAv?.Socket;
            using ScanSignatures signatures = ScanSignatures.Choose(
                Existing(parsed.GetValue(rules) ?? []), Existing(parsed.GetValue(hashes) ?? []), parsed.GetValue(withBuiltin), Existing(parsed.GetValue(allow) ?? []), StateFolder.Of(parsed.GetValue(state)), TimeProvider.System);
            var settings = new ScanSettings
            {
                RuleSources = signatures.Rules,
                WithBuiltin = signatures.WithBuiltin,
                StrictRules = parsed.GetValue(strict),
                HashLists = signatures.HashLists,
                StoredHashSets = signatures.HashSets,
                KnownGood = parsed.GetValue(ignoreKnownGood) ? [] : [.. Existing(parsed.GetValue(knownGood) ?? []), .. signatures.KnownGoodLists],
                StoredKnownGood = parsed.GetValue(ignoreKnownGood) ? [] : signatures.KnownGoodSets,
                Engines = parsed.GetValue(engines) is { Length: > 0 } chosen ? chosen : [.. EngineNames.All.Where(n => n != ClamdEngine.EngineName || daemon is not null)],
                EnginesAreNamed = parsed.GetValue(engines) is { Length: > 0 },
                ClamdSocket = daemon ?? ClamdOptions.DefaultSocket,
                ClamdDatabaseFolder = configured.ClamAv?.DatabaseFolder ?? ClamdState.DefaultDatabaseFolder,
                Threads = parsed.GetValue(threads),
                MemoryBytes = (parsed.GetValue(memory) ?? CommonOptions.DefaultMemoryBytes),
                MatchTimeoutSeconds = parsed.GetValue(timeout),
                Archives = archives.Of(parsed),
                Server = configured.Server,
                StateFolder = parsed.GetValue(noCache) ? null : StateFolder.Of(parsed.GetValue(state)),
                IncludeDeleted = parsed.GetValue(deleted),
                ScanMemory = parsed.GetValue(memoryScan) != "no",
                ScanRunningMemory = parsed.GetValue(memoryScan) == "running",
                Secrets = KeyFile.Read(parsed.GetValue(key)),
                Acts = parsed.GetValue(acts) ?? [],
                OnlyChanges = parsed.GetValue(changed),
                InheritFrom = parsed.GetValue(inherit) ? TimeProvider.System.GetUtcNow() - InheritedFor : null,
                RecheckShare = parsed.GetValue(recheck) / 1000.0,
                Bundle = signatures.Bundle,
                Allow = signatures.Allow,
                Faults = signatures.Faults,
            };
            if (settings is { OnlyChanges: true, StateFolder: null })
            {
                throw new TargetException("--changed builds on what earlier scans left in the state folder; it goes with neither --state none nor --no-cache");
            }

            if (!settings.Engines.Any(n => n != HashSet.EngineName) && settings.HashLists.Count + settings.StoredHashSets.Count == 0)
            {
                throw new TargetException("the engines asked for have nothing to match; name a list with --hashes, or let yara run too");
            }

            var finder = new TargetFinder(parsed.GetValue(bases) ?? [], cancellation);
            using Hypervisors hypervisors = Hypervisors.Of(configured, parsed.GetValue(state), parsed.GetValue(bases) ?? []);
            hypervisors.Reap();
            using PeriodicReaper reaper = hypervisors.ReapPeriodically();
            List<Vm> found = [.. parsed.GetRequiredValue(targets).SelectMany(t => hypervisors.Find(t, finder, settings.ScanRunningMemory))];
            List<Vm> vms = [.. SnapshotChoice.Choose(found, parsed.GetValue(snapshot), parsed.GetValue(bases) ?? [])];
            Sandbox box = Sandboxes.Open(parsed.GetValue(sandbox) ?? SandboxMode.Full);
            FileInfo? file = parsed.GetValue(output);
            using TextWriter writer = Outputs.OpenText(file);
            using ResultLog? results = settings.StateFolder is { } folder ? ResultLog.Open(new DatabasePlace(folder, configured.Server), TimeProvider.System, configured.Retention) : null;
            if (configured.Source is { } source)
            {
                results?.NoteConfiguration(source.Path, source.Content);
            }

            results?.Note("scan", string.Join(' ', parsed.GetRequiredValue(targets)), string.Create(CultureInfo.InvariantCulture, $"{vms.Count} VMs or images"));
            return Run(vms, settings, box, results, parsed.GetRequiredValue(format), writer, Outputs.IsTerminal(file), !parsed.GetValue(noProgress), cancellation);
        }));
        return command;
    }

    /// <param name="recorder">Null: nothing is recorded.</param>
    internal static int Run(
        List<Vm> vms, ScanSettings settings, Sandbox sandbox, IResultRecorder? recorder, string format, TextWriter writer, bool isTerminal, bool showProgress, CancellationToken cancellation)
    {
        using var progress = new ProgressLine(showProgress);
        NdjsonListener? ndjson = format == "ndjson" ? new NdjsonListener(writer) : null;
        using JsonReport? json = format == "json" ? new JsonReport(writer) : null;
        IReportForm form = json ?? (IReportForm?)ndjson ?? new TextReport(TextConsole.Of(writer, isTerminal));
        var listener = new ProgressListener(progress, ndjson);
        Report report = new ScanRun(settings, sandbox, new WorkerProcess(sandbox.WorkerStart, ScanRun.Silence), TimeProvider.System, listener, cancellation) { Recorder = recorder }.Run(vms, target =>
        {
            progress.Clear();
            form.Add(target);
            writer.Flush();
        });
        progress.Clear();
        form.Finish(report);
        return ExitStatus.Of(report);
    }

    private static string[] ParseEngines(System.CommandLine.Parsing.ArgumentResult result)
    {
        string[] names = [.. result.Tokens.SelectMany(t => t.Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)).Distinct()];
        if (names.FirstOrDefault(n => !EngineNames.All.Contains(n)) is { } unknown)
        {
            result.AddError($"There is no engine '{unknown}'; there are {string.Join(", ", EngineNames.All)}.");
        }

        return names;
    }

    private static VmAct[] ParseActs(System.CommandLine.Parsing.ArgumentResult result)
    {
        List<VmAct> acts = [];
        foreach (string name in result.Tokens.SelectMany(t => t.Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)).Distinct())
        {
            if (Enum.TryParse(name, ignoreCase: true, out VmAct act) && char.IsAsciiLetter(name[0]))
            {
                acts.Add(act);
            }
            else
            {
                result.AddError($"There is no act '{name}'; there are annotate, suspend, disconnect, tag, keep.");
            }
        }

        return [.. acts];
    }

    private static string[] Existing(string[] paths)
    {
        foreach (string path in paths)
        {
            if (!Path.Exists(path))
            {
                throw new TargetException($"{path}: not found");
            }
        }

        return paths;
    }

    /// <summary>Feeds the progress line, and the event stream where there is one.</summary>
    private sealed class ProgressListener(ProgressLine line, NdjsonListener? next) : IScanListener
    {
        private string _position = "";
        private long _findings;

        public void OnTarget(TargetReport target, int number, int count)
        {
            _position = count > 1 ? $"[{number}/{count}] " : "";
            next?.OnTarget(target, number, count);
        }

        public void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume) => next?.OnVolume(target, disk, volume);

        public void OnFinding(TargetReport target, FindingReport finding)
        {
            _findings += finding.Suppressed is null ? 1 : 0;
            next?.OnFinding(target, finding);
        }

        public void OnGap(TargetReport target, GapReport gap) => next?.OnGap(target, gap);

        public void OnNote(TargetReport target, string note) => next?.OnNote(target, note);

        public void OnAct(TargetReport target, ActReport act) => next?.OnAct(target, act);

        public void OnProgress(TargetReport target, ProgressEvent progress)
        {
            line.Show(_position + Path.GetFileName(target.Target), progress.BytesDone, progress.BytesTotal, _findings);
            next?.OnProgress(target, progress);
        }
    }
}
