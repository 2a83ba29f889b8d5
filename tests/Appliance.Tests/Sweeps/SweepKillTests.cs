using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Tests.Results;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>
/// One sweep that is killed again and again, all processes of it real. VMSWEEP_KILLS=100 kills it a hundred times, in some minutes: each start takes
/// longer than the reading.
/// </summary>
public sealed class SweepKillTests : IDisposable
{
    private const string Number = "0000";
    private static readonly int Kills = int.TryParse(Environment.GetEnvironmentVariable("VMSWEEP_KILLS"), CultureInfo.InvariantCulture, out int kills) ? kills : 12;
    private static readonly TimeSpan LongEnough = TimeSpan.FromMinutes(3);
    private static readonly TimeSpan LongEnoughForVm = TimeSpan.FromSeconds(30);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void Kill_9_at_random_moments_loses_and_doubles_nothing()
    {
        int vms = 10 + (Kills / 2);
        Datastore(vms);
        Launcher.Run("--version");
        var random = new Random(8);
        string database = _scratch["state/vmsweep.db"];
        int killed = 0;
        for (int i = 0; i < Kills; i++)
        {
            using Process sweep = Start();
            // From its first act on: a process that has not begun is no test.
            long before = LengthOf(database + "-wal");
            long started = Stopwatch.GetTimestamp();
            Until(() => sweep.HasExited || LengthOf(database + "-wal") != before);
            // As the machine is busy, so a start takes; in three times as long VMs come to their end.
            Thread.Sleep(random.Next(500 + (int)Math.Min(Stopwatch.GetElapsedTime(started).TotalMilliseconds * 3, 60_000)));
            killed += sweep.HasExited ? 0 : 1;
            sweep.Kill();
            sweep.WaitForExit();
            CheckWhole(database, i);
        }

        Assert.True(killed > Kills / 2, $"only {killed} of {Kills} were killed at work");
        using (Process last = Start())
        {
            Assert.True(last.WaitForExit(LongEnough + (LongEnoughForVm * vms)));
            Assert.Equal(1, last.ExitCode);
        }

        // What kills have left in the folder for temporary files is gone with the last start.
        Assert.Empty(Directory.GetFileSystemEntries(_scratch["tmp"], "vmsweep-*"));
        CheckWhole(database, Kills);
        IReadOnlyList<string> findings = Findings("state");
        (int undisturbed, _, string error) = Launcher.Run("sweep", "run", "nightly", "--config", Config, "--state", _scratch["other"]);
        Assert.True(undisturbed == 1, error);
        Assert.Equal(Findings("other"), findings);
        Assert.Equal(vms, findings.Count);

        JsonElement report = JsonDocument.Parse(Launcher.Run("sweep", "show", "nightly", "--format", "json", "--state", _scratch["state"]).Output).RootElement;
        JsonElement totals = report.GetProperty("totals");
        Assert.Equal(("finished", vms, vms), (report.GetProperty("state").GetString(), totals.GetProperty("done").GetInt32(), totals.GetProperty("findings").GetInt32()));
        Assert.Equal("", Launcher.Run("leases", "list", "--state", _scratch["state"]).Output);
        Assert.Empty(Directory.GetFiles(_scratch["state"], "*.damaged-*"));
        TestContext.Current.TestOutputHelper?.WriteLine($"{killed} of {Kills} kills at work, {vms} VMs");
    }

    /// <summary>Whatever moment it was: each scan is there with its finding or not at all, none twice, and nothing is called done that is not recorded.</summary>
    private static void CheckWhole(string database, int kill)
    {
        if (DamageTests.Execute(database, "SELECT count(*) FROM sqlite_master WHERE name = 'sweep_planned'") is not 1L)
        {
            return;
        }

        Assert.Equal("ok", DamageTests.Execute(database, "PRAGMA integrity_check"));
        Assert.Equal(0L, DamageTests.Execute(database, "SELECT count(*) FROM scan WHERE (SELECT count(*) FROM finding_event WHERE scan = scan.id) <> 1"));
        Assert.Equal(0L, DamageTests.Execute(database, "SELECT count(*) FROM (SELECT 1 FROM finding GROUP BY machine HAVING count(*) > 1)"));
        Assert.Equal(0L, DamageTests.Execute(database, "SELECT count(*) FROM finding WHERE scans <> (SELECT count(*) FROM finding_event WHERE finding = finding.id)"));
        long unrecorded = (long)DamageTests.Execute(database, "SELECT (SELECT count(*) FROM sweep_planned WHERE state = 'done') - (SELECT count(*) FROM scan WHERE run IS NOT NULL)")!;
        Assert.True(unrecorded <= 0, $"after kill {kill} {unrecorded} VMs are called done that are not recorded");
    }

    private string Config => _scratch["vmsweep.json"];

    /// <summary>Disks of which each holds one file that the only rule finds, of a content of its own.</summary>
    private void Datastore(int disks)
    {
        Directory.CreateDirectory(_scratch["ds"]);
        File.WriteAllText(_scratch["mark.yar"], $"rule Marked {{ strings: $a = \"{HostileScan.Mark}\" condition: $a }}");
        File.WriteAllText(Config, $"{{ \"sweeps\": {{ \"nightly\": {{ \"what\": {{ \"folders\": [\"{_scratch["ds"]}\"] }}, \"signatures\": {{ \"rules\": [\"{_scratch["mark.yar"]}\"] }}, \"limits\": {{ \"disks\": 2, \"bytesPerSecond\": \"4G\" }} }} }} }}");
        byte[] image = HostileScan.Fat($"printf '{HostileScan.Mark} {Number}' > a.txt; mcopy -i image a.txt ::A.TXT; head -c 40000 /dev/urandom > b.bin; mcopy -i image b.bin ::B.BIN");
        int at = image.AsSpan().IndexOf(Encoding.ASCII.GetBytes($"{HostileScan.Mark} {Number}")) + HostileScan.Mark.Length + 1;
        for (int i = 0; i < disks; i++)
        {
            string number = i.ToString("0000", CultureInfo.InvariantCulture);
            Encoding.ASCII.GetBytes(number).CopyTo(image, at);
            File.WriteAllBytes(_scratch[$"ds/vm{number}.raw"], image);
        }
    }

    /// <summary>The program that the launcher has built, without its look whether that is still so.</summary>
    private Process Start()
    {
        Process process = Process.Start(new ProcessStartInfo(
            Tool.Find("dotnet"), [Path.Combine(RepositoryRoot.Path, ".build/app/vmsweep.dll"), "sweep", "run", "nightly", "--config", Config, "--format", "json", "--state", _scratch["state"]])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["TMPDIR"] = Directory.CreateDirectory(_scratch["tmp"]).FullName },
        })!;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>VM, rule and place of all findings.</summary>
    private IReadOnlyList<string> Findings(string state)
    {
        (int status, string output, string error) = Launcher.Run("findings", "list", "--finding-state", "all", "--format", "json", "--state", _scratch[state]);
        Assert.True(status == 0, error);
        return [.. JsonDocument.Parse(output).RootElement.GetProperty("findings").EnumerateArray()
            .Select(f => $"{f.GetProperty("vmName")} {f.GetProperty("rule")} {f.GetProperty("path")} {f.GetProperty("sha256")}").Order(StringComparer.Ordinal)];
    }

    private static void Until(Func<bool> isDone)
    {
        long started = Stopwatch.GetTimestamp();
        while (!isDone())
        {
            Assert.True(Stopwatch.GetElapsedTime(started) < LongEnough, "it takes too long");
            Thread.Sleep(5);
        }
    }

    private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;
}
