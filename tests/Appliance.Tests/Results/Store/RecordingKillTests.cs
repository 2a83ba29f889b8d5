using System.Diagnostics;
using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>The program is killed again and again while it records: of each scan all is there or nothing, and nothing is doubled.</summary>
public sealed class RecordingKillTests : IDisposable
{
    private const int Vms = 6;
    private const int Files = 40;
    private const int Kills = 12;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void Kill_9_in_a_loop_leaves_whole_scans()
    {
        for (int vm = 0; vm < Vms; vm++)
        {
            SmallDisk.Make(_scratch[$"vms/vm{vm}.raw"], Enumerable.Range(0, Files).ToDictionary(i => string.Create(CultureInfo.InvariantCulture, $"home/f{i}.sh"), i => string.Create(CultureInfo.InvariantCulture, $"#!/bin/sh\n# MARKER {vm} {i}")));
        }

        File.WriteAllText(_scratch["rules.yar"], "rule marker { strings: $a = \"MARKER\" condition: $a }\n");
        Launcher.Run("--version");
        string path = _scratch["state/vmsweep.db"];
        var random = new Random(3);
        int killed = 0;
        for (int i = 0; i < Kills; i++)
        {
            using Process scan = Start();
            long before = Scanned(path);
            long enough = before + random.Next(Vms);
            var patience = Stopwatch.StartNew();
            while (!scan.HasExited && Scanned(path) <= enough && patience.Elapsed < TimeSpan.FromMinutes(2))
            {
                Thread.Sleep(random.Next(1, 8));
            }

            killed += scan.HasExited ? 0 : 1;
            scan.Kill();
            scan.WaitForExit();
            CheckWhole(path);
        }

        Assert.True(killed > Kills / 3, $"only {killed} were killed at work");

        // Two at once come to their end.
        using Process one = Start();
        using Process other = Start();
        foreach (Process process in (Process[])[one, other])
        {
            process.WaitForExit();
            Assert.Equal(1, process.ExitCode);
        }

        CheckWhole(path);
        using Database database = Database.Open(_scratch["state"], TimeProvider.System)!;
        IReadOnlyList<KnownFinding> findings = new FindingQueries(database).List(new() { Rule = "marker" });
        Assert.Equal(Vms * Files, findings.Count);
        Assert.Equal(Vms * Files, findings.Select(f => (f.VmId, f.Path)).Distinct().Count());
        Assert.All(findings, f => Assert.Equal(FindingStates.Open, f.State));
        Assert.Equal((long)Vms * Files, database.Number("SELECT sum(sightings) FROM machine"));
        Assert.Null(new AuditLog(database, TimeProvider.System).FirstBroken());
    }

    /// <summary>Every scan that is recorded has all its findings, and none is there that no scan saw.</summary>
    private static void CheckWhole(string path)
    {
        Assert.Equal("ok", DamageTests.Execute(path, "PRAGMA integrity_check"));
        Assert.Equal(0L, DamageTests.Execute(path, $"SELECT count(*) FROM scan WHERE (SELECT count(*) FROM finding_event e JOIN finding f ON f.id = e.finding WHERE e.scan = scan.id AND f.rule = 'marker') <> {Files}"));
        Assert.Equal(0L, DamageTests.Execute(path, "SELECT count(*) FROM finding WHERE scans <> (SELECT count(*) FROM finding_event WHERE finding = finding.id)"));
        Assert.Equal(0L, DamageTests.Execute(path, $"SELECT count(*) FROM machine WHERE sightings <> {Files}"));
    }

    private static long Scanned(string path)
    {
        try
        {
            return File.Exists(path) ? DamageTests.Execute(path, "SELECT count(*) FROM scan") as long? ?? 0 : 0;
        }
        catch (Microsoft.Data.Sqlite.SqliteException)
        {
            // It is just being made.
            return 0;
        }
    }

    private Process Start()
    {
        Process scan = Process.Start(new ProcessStartInfo(
            Path.Combine(RepositoryRoot.Path, "vmsweep"),
            ["scan", "--format", "json", "--no-progress", "--sandbox", "reduced", "--state", _scratch["state"], "--rules", _scratch["rules.yar"], .. Enumerable.Range(0, Vms).Select(i => _scratch[$"vms/vm{i}.raw"])])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        scan.OutputDataReceived += (_, _) => { };
        scan.ErrorDataReceived += (_, _) => { };
        scan.BeginOutputReadLine();
        scan.BeginErrorReadLine();
        return scan;
    }
}
