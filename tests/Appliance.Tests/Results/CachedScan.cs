using System.Text.Json;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>Scans of one disk in this process, with what is remembered in a folder and without.</summary>
internal sealed class CachedScan : IDisposable
{
    private readonly Scratch _scratch = new();

    public CachedScan(int seed, int files = 40)
    {
        Random = new Random(seed);
        Directory.CreateDirectory(Rules);
        Directory.CreateDirectory(_scratch["files"]);
        for (int i = 0; i < files; i++)
        {
            // Some are equal, some begin as programs do, and all are made of the words that the rules look for.
            int source = i % 7 == 6 ? i - 1 : i;
            var content = new Random((seed * 1000) + source);
            string text = string.Join(' ', Enumerable.Range(0, content.Next(1, 9)).Select(_ => RuleChanges.Word(content)));
            File.WriteAllText(_scratch[$"files/{(i % 3 == 0 ? "invoice" : "file")}{i}.{(i % 2 == 0 ? "txt" : "exe")}"], (source % 4 == 0 ? "MZ" : "") + text);
        }

        Tool.Find("mcopy");
        // The same words packed: some members are equal to files, and some archives to others.
        Tool.Shell("cd files && zip -q ../a.zip *1*.exe *2*.txt && tar -czf ../b.tgz *3*.exe *4*.txt && zip -q -0 ../c.zip ../a.zip ../b.tgz *5*.txt && zip -q -P nobody ../d.zip *6*.txt && cp ../?.zip ../b.tgz . && cp a.zip again.exe && cd .. && rm a.zip b.tgz c.zip d.zip", _scratch.Folder);
        Tool.Shell("PATH=$PATH:/usr/sbin:/sbin\ntruncate -s 2M disk.raw; mkfs.fat -F 12 -s 1 disk.raw >/dev/null; mcopy -i disk.raw files/* ::; rm -r files", _scratch.Folder);
    }

    public Random Random { get; }

    public string Rules => _scratch["rules"];

    public string State => _scratch["state"];

    public string Database => Path.Combine(State, "vmsweep.db");

    public void Write(IReadOnlyDictionary<string, string> ruleFiles)
    {
        Directory.Delete(Rules, recursive: true);
        Directory.CreateDirectory(Rules);
        foreach ((string name, string text) in ruleFiles)
        {
            File.WriteAllText(Path.Combine(Rules, name), text);
        }
    }

    /// <summary>Scans with everything else as the hostile scans have it.</summary>
    public Func<ScanSettings, ScanSettings> Change { get; set; } = s => s;

    /// <summary>A list with one hash.</summary>
    public string Hashes(string name, string sha256)
    {
        File.WriteAllText(_scratch[name], sha256 + "\n");
        return _scratch[name];
    }

    public Report Scan(bool withState, CancellationToken cancellation) => Scan(withState ? State : null, cancellation);

    public Report Scan(string? state, CancellationToken cancellation)
    {
        ScanSettings settings = Change(HostileScan.Settings with { RuleSources = [Rules], StateFolder = state });
        return new ScanRun(settings, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), TimeProvider.System, new Silent(), cancellation)
            .Run([.. new TargetFinder([]).Find(_scratch["disk.raw"])]);
    }

    /// <summary>All that a report says of contents and rules, to be compared.</summary>
    public static IReadOnlyList<string> Said(Report report) =>
    [
        .. report.Targets.SelectMany(t => t.Findings).Select(f => JsonSerializer.Serialize(f)).Order(StringComparer.Ordinal),
        .. report.Targets.SelectMany(t => t.Gaps).Select(g => JsonSerializer.Serialize(g)).Order(StringComparer.Ordinal),
        .. report.RuleFaults.Select(f => f.ToString()).Order(StringComparer.Ordinal),
        .. report.Engines.Select(e => e.ToString()),
        report.Verdict,
        $"{report.Totals.FilesScanned} of {report.Totals.FilesSeen}",
    ];

    public void Dispose() => _scratch.Dispose();

    private sealed class Silent : IScanListener
    {
        public void OnTarget(TargetReport target, int number, int count)
        {
        }

        public void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume)
        {
        }

        public void OnFinding(TargetReport target, FindingReport finding)
        {
        }

        public void OnGap(TargetReport target, GapReport gap)
        {
        }

        public void OnAct(TargetReport target, ActReport act)
        {
        }

        public void OnProgress(TargetReport target, ProgressEvent progress)
        {
        }
    }
}
