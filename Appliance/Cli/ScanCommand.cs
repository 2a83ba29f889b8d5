using System.CommandLine;
using System.Text.Json;
using Spectre.Console;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep scan</c>.</summary>
internal static class ScanCommand
{
    private static readonly string[] EngineNames = ["yara", "hash"];

    /// <summary>Wide enough that paths and rules stand on one line in a file or pipe.</summary>
    private const int WidthOfFiles = 240;

    public static Command Create()
    {
        var targets = new Argument<string[]>("TARGET") { Description = "Disk images, VM configuration files (.vmx), or folders of both.", Arity = ArgumentArity.OneOrMore };
        Option<string> format = CommonOptions.Format("text", "json", "ndjson");
        Option<FileInfo?> output = CommonOptions.Out();
        var rules = new Option<string[]>("--rules") { Description = "A YARA rule file, or a folder of them; replaces the built-in rules. Repeatable.", HelpName = "FILE|DIR" };
        var withBuiltin = new Option<bool>("--with-builtin") { Description = "The built-in rules as well as --rules." };
        var strict = new Option<bool>("--strict-rules") { Description = "A rule that does not compile ends the command, instead of being left out and reported." };
        var hashes = new Option<string[]>("--hashes") { Description = "A list of SHA-256, SHA-1 or MD5 hashes, one a line or CSV with a name. Repeatable.", HelpName = "FILE" };
        var engines = new Option<string[]>("--engine")
        {
            Description = $"Engines, separated by commas: {string.Join(", ", EngineNames)}; by default all that have something to match.",
            HelpName = string.Join(',', EngineNames),
            CustomParser = ParseEngines,
        };
        Option<int> threads = CommonOptions.Threads();
        Option<long?> memory = CommonOptions.Memory();
        var timeout = new Option<int>("--match-timeout") { Description = "Seconds that matching one content may take; beyond it is a gap.", DefaultValueFactory = _ => 60, HelpName = "SECONDS" };
        Option<string[]> bases = CommonOptions.Bases();
        Option<string?> key = CommonOptions.Key();
        Option<string?> snapshot = CommonOptions.Snapshot();
        Option<bool> deleted = CommonOptions.Deleted();
        var archives = new ArchiveOptions();
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<bool> noProgress = CommonOptions.NoProgress();
        var command = new Command("scan", "Scans virtual disks and says what was found and what was not read.")
        {
            targets, format, output, rules, withBuiltin, strict, hashes, engines, threads, memory, timeout, bases, key, snapshot, deleted, state, sandbox, noProgress,
        };
        archives.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            var settings = new ScanSettings
            {
                RuleSources = Existing(parsed.GetValue(rules) ?? []),
                WithBuiltin = parsed.GetValue(withBuiltin) || parsed.GetValue(rules) is null or [],
                StrictRules = parsed.GetValue(strict),
                HashLists = Existing(parsed.GetValue(hashes) ?? []),
                Engines = parsed.GetValue(engines) is { Length: > 0 } chosen ? chosen : EngineNames,
                Threads = parsed.GetValue(threads),
                MemoryBytes = (parsed.GetValue(memory) ?? CommonOptions.DefaultMemoryBytes),
                MatchTimeoutSeconds = parsed.GetValue(timeout),
                Archives = archives.Of(parsed),
                IncludeDeleted = parsed.GetValue(deleted),
                Secrets = KeyFile.Read(parsed.GetValue(key)),
            };
            if (!settings.Engines.Contains("yara") && settings.HashLists.Count == 0)
            {
                throw new TargetException("the engines asked for have nothing to match; name a list with --hashes, or let yara run too");
            }

            var finder = new TargetFinder(parsed.GetValue(bases) ?? [], cancellation);
            List<Vm> found = [.. parsed.GetRequiredValue(targets).SelectMany(finder.Find)];
            List<Vm> vms = [.. SnapshotChoice.Choose(found, parsed.GetValue(snapshot), parsed.GetValue(bases) ?? [])];
            Sandbox box = Sandboxes.Open(parsed.GetValue(sandbox) ?? SandboxMode.Full);
            FileInfo? file = parsed.GetValue(output);
            using TextWriter writer = Outputs.OpenText(file);
            return Run(vms, settings, box, parsed.GetRequiredValue(format), writer, Outputs.IsTerminal(file), !parsed.GetValue(noProgress), cancellation);
        }));
        return command;
    }

    private static int Run(
        List<Vm> vms, ScanSettings settings, Sandbox sandbox, string format, TextWriter writer, bool isTerminal, bool showProgress, CancellationToken cancellation)
    {
        using var progress = new ProgressLine(showProgress);
        NdjsonListener? ndjson = format == "ndjson" ? new NdjsonListener(writer) : null;
        var listener = new ProgressListener(progress, ndjson);
        Report report = new ScanRun(settings, sandbox, new WorkerProcess(sandbox.WorkerStart, ScanRun.Silence), TimeProvider.System, listener, cancellation).Run(vms);
        progress.Clear();
        switch (format)
        {
            case "json":
                writer.WriteLine(JsonSerializer.Serialize(report, ReportJson.Default.Report));
                break;
            case "ndjson":
                ndjson!.Summary(report);
                break;
            default:
                IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
                {
                    Out = new AnsiConsoleOutput(writer),
                    Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
                    ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
                });
                console.Profile.Width = isTerminal ? Math.Max(40, Console.WindowWidth) : WidthOfFiles;
                TextReport.Write(report, console);
                break;
        }

        return ExitStatus.Of(report);
    }

    private static string[] ParseEngines(System.CommandLine.Parsing.ArgumentResult result)
    {
        string[] names = [.. result.Tokens.SelectMany(t => t.Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)).Distinct()];
        if (names.FirstOrDefault(n => !EngineNames.Contains(n)) is { } unknown)
        {
            result.AddError($"There is no engine '{unknown}'; there are {string.Join(", ", EngineNames)}.");
        }

        return names;
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
            _findings++;
            next?.OnFinding(target, finding);
        }

        public void OnGap(TargetReport target, GapReport gap) => next?.OnGap(target, gap);

        public void OnProgress(TargetReport target, ProgressEvent progress)
        {
            line.Show(_position + Path.GetFileName(target.Target), progress.BytesDone, progress.BytesTotal, _findings);
            next?.OnProgress(target, progress);
        }
    }
}
