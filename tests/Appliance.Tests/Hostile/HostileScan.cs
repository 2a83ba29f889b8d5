using System.Text.Json;
using Spectre.Console;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>Scans hostile images beside a sound one, and holds the run to what every such run must keep.</summary>
internal static class HostileScan
{
    /// <summary>Added to every folder: whatever the other images do, this one is scanned.</summary>
    public const string Sound = "zz-sound.raw";

    /// <summary>What the run's only rule looks for.</summary>
    public const string Mark = "hostile-content";

    private static readonly Lazy<string> RuleFile = new(() =>
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("vmsweep-test-").FullName, "mark.yar");
        File.WriteAllText(path, $"rule Marked {{ meta: severity = \"low\" description = \"\\x1b[31mred \u202e<b>\" strings: $a = \"{Mark}\" condition: $a }}");
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        return path;
    });

    private static readonly Lazy<byte[]> SoundImage = new(() => Fat("printf 'only text' > a.txt; mcopy -i image a.txt ::A.TXT"));

    /// <summary>A small FAT image that a script fills as <c>image</c>.</summary>
    public static byte[] Fat(string script)
    {
        using var scratch = new Scratch();
        Tool.Find("mcopy");
        Tool.Shell("PATH=$PATH:/usr/sbin:/sbin\ntruncate -s 64K image; mkfs.fat -F 12 -s 1 image >/dev/null\n" + script, scratch.Folder);
        return File.ReadAllBytes(scratch["image"]);
    }

    public static ScanSettings Settings { get; } = new()
    {
        RuleSources = [RuleFile.Value],
        WithBuiltin = false,
        StrictRules = false,
        HashLists = [],
        Engines = ["yara"],
        Threads = 2,
        MemoryBytes = 64 << 20,
        MatchTimeoutSeconds = 60,
    };

    /// <summary>Scans a folder, with a sound image put into it; asserts that one was scanned whole.</summary>
    public static ScanResult Folder(Scratch scratch)
    {
        AddSound(scratch);
        ScanResult result = Targets(scratch.Folder);
        result.AssertSoundScanned();
        return result;
    }

    public static void AddSound(Scratch scratch) => File.WriteAllBytes(scratch[Sound], SoundImage.Value);

    public static ScanResult Targets(params string[] targets) => With(new InProcessWorker(), TestContext.Current.CancellationToken, targets);

    public static ScanResult With(IWorker worker, CancellationToken cancellation, params string[] targets)
    {
        var finder = new TargetFinder([]);
        using var events = new StringWriter();
        var listener = new NdjsonListener(events);
        Report report = new ScanRun(Settings, Sandbox.Probe(SandboxMode.Reduced), worker, TimeProvider.System, listener, cancellation)
            .Run([.. targets.SelectMany(finder.Find)]);
        listener.Finish(report);
        return new ScanResult(report, events.ToString());
    }
}

/// <summary>A report in all its outlets.</summary>
internal sealed record ScanResult(Report Report, string Ndjson)
{
    public string Json => JsonSerializer.Serialize(Report, ReportJson.Default.Report);

    public string Text
    {
        get
        {
            using var text = new StringWriter();
            IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(text), Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
            console.Profile.Width = 400;
            var report = new TextReport(console);
            Report.Targets.ToList().ForEach(report.Add);
            report.Finish(Report);
            return text.ToString();
        }
    }

    public IReadOnlyList<GapReport> Gaps => [.. Report.Targets.SelectMany(t => t.Gaps)];

    public IReadOnlyList<FindingReport> Findings => [.. Report.Targets.SelectMany(t => t.Findings)];

    public int Status => ExitStatus.Of(Report);

    /// <summary>The gap with this fault; its text names the file.</summary>
    public GapReport Gap(string fault, string file)
    {
        GapReport? gap = Gaps.FirstOrDefault(g => g.Fault == fault && (g.Path + g.Detail).Contains(file, StringComparison.Ordinal));
        Assert.True(gap is not null, $"no gap {fault} of {file} among: {string.Join("; ", Gaps)}");
        Assert.NotEmpty(gap.Structure);
        Assert.DoesNotContain("unexpectedly", gap.Detail, StringComparison.Ordinal);
        return gap;
    }

    public void AssertSoundScanned()
    {
        TargetReport sound = Report.Targets.Single(t => t.Target.EndsWith(HostileScan.Sound, StringComparison.Ordinal));
        Assert.Empty(sound.Gaps);
        VolumeReport volume = Assert.Single(Assert.Single(sound.Disks).Volumes);
        Assert.True(volume.Files.Seen > 0 && volume.Files.Scanned == volume.Files.Seen, volume.ToString());
    }
}
