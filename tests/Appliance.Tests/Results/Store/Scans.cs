using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>Scans as the store is given them.</summary>
internal static class Scans
{
    public static readonly DateTimeOffset Start = new(2026, 3, 1, 1, 0, 0, TimeSpan.Zero);

    public static readonly IReadOnlyList<EngineReport> Engines = [new("yara", "4.2.3", 10, "sha256:aa"), new("hash", "1", null, "sha256:bb")];

    /// <summary>A scan of a VM with two volumes that read all.</summary>
    /// <param name="at">When it ended, in hours after <see cref="Start"/>.</param>
    public static FinishedScan Of(string vm, double at, params IReadOnlyList<FindingReport> findings)
    {
        var target = new TargetReport { Target = $"/images/{vm}.vmx", Vm = new VmReport(vm, "name of " + vm, "off", "") };
        var disk = new DiskReport { Path = $"/images/{vm}.vmdk", Scheme = "gpt" };
        foreach (string id in (string[])["v1", "v2"])
        {
            disk.Volumes.Add(new VolumeReport { Id = id, Scheme = "gpt", FileSystem = "ext4", Label = "", OffsetBytes = 0, SizeBytes = 1, Files = new FileCounts(10, 10), Bytes = new ByteCounts(100, 100) });
        }

        target.Disks.Add(disk);
        target.Findings.AddRange(findings);
        return new FinishedScan(null, "", target, Engines, null, Start.AddHours(at - 0.5), Start.AddHours(at));
    }

    public static FinishedScan With(this FinishedScan scan, params IEnumerable<GapReport> gaps)
    {
        scan.Target.Gaps.AddRange(gaps);
        return scan;
    }

    public static FinishedScan Seeing(this FinishedScan scan, params IEnumerable<string> paths)
    {
        scan.Target.Seen.AddRange(paths.Select(p => new SeenContent(Hash(p.Split('#')[0].Split('/')[^1]), 100, p.Split('#')[0])));
        return scan;
    }

    public static FindingReport Finding(string path, string rule = "r1", string engine = "yara", string severity = "high", string? content = null) => new()
    {
        Path = path,
        SizeBytes = 7,
        Sha256 = Convert.ToHexStringLower(Hash(content ?? path)),
        Engine = engine,
        Rule = rule,
        Namespace = "default",
        Severity = severity,
    };

    public static GapReport Gap(string path, string fault = "corrupt", string structure = "inode", params IReadOnlyList<string> inside) =>
        new(fault, path, structure, -1, 1, "it is so") { Inside = inside.Count > 0 ? inside : null };

    public static byte[] Hash(string content) => SHA256.HashData(Encoding.UTF8.GetBytes(content));
}

/// <summary>A clock that stands until it is set.</summary>
internal sealed class SetClock(DateTimeOffset now) : TimeProvider
{
    public DateTimeOffset Now { get; set; } = now;

    public override DateTimeOffset GetUtcNow() => Now;
}
