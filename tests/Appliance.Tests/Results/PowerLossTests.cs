using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>The program is killed again and again while it remembers: the database stays sound, and no finding is lost.</summary>
public sealed class PowerLossTests : IDisposable
{
    private const int Kills = 12;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void Kill_9_in_a_loop_loses_nothing()
    {
        Directory.CreateDirectory(_scratch["files"]);
        for (int i = 0; i < 6000; i++)
        {
            File.WriteAllText(_scratch[$"files/f{i}.txt"], $"file {i} {(i % 100 == 0 ? "MARKER" : "nothing")} {i * 7919}");
        }

        Tool.Shell("PATH=$PATH:/usr/sbin:/sbin\ntruncate -s 64M disk.raw; mke2fs -q -F -t ext4 -N 8000 -d files disk.raw; rm -r files", _scratch.Folder);
        string rules = _scratch["rules.yar"];
        string text = "rule marker { strings: $a = \"MARKER\" condition: $a }\n";
        File.WriteAllText(rules, text);
        Launcher.Run("--version");
        string database = _scratch["state/vmsweep.db"];
        var random = new Random(5);
        int killed = 0;
        for (int i = 0; i < Kills; i++)
        {
            if (i % 3 == 2)
            {
                // Verdicts move on to more rules, and rules are compiled and written down.
                File.WriteAllText(rules, text += $"rule more{i} {{ strings: $a = \"file {i}00 \" condition: $a }}\n");
            }

            using Process scan = Process.Start(new ProcessStartInfo(Path.Combine(RepositoryRoot.Path, "vmsweep"), ["scan", "--format", "json", "--no-progress", "--state", _scratch["state"], "--rules", rules, _scratch["disk.raw"]])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            scan.OutputDataReceived += (_, _) => { };
            scan.BeginOutputReadLine();
            scan.BeginErrorReadLine();
            long before = LengthOf(database + "-wal");
            while (!scan.HasExited && (LengthOf(database + "-wal") is var length && (length == before || length < 100_000)))
            {
                Thread.Sleep(1);
            }

            Thread.Sleep(random.Next(120));
            killed += scan.HasExited ? 0 : 1;
            scan.Kill();
            scan.WaitForExit();
            Assert.Equal("ok", DamageTests.Execute(database, "PRAGMA integrity_check"));
        }

        Assert.True(killed > Kills / 3, $"only {killed} were killed at work");
        JsonElement after = Scan(_scratch["state"]);
        JsonElement without = Launcher.Scan("--no-cache", "--rules", rules, _scratch["disk.raw"]);
        Assert.Equal(without.Findings().Order(StringComparer.Ordinal), after.Findings().Order(StringComparer.Ordinal));
        Assert.True(after.Findings().Count > 60);
        Assert.Empty(after.Gaps());
        Assert.True(after.GetProperty("totals").GetProperty("filesCached").GetInt64() > 0);
        Assert.Empty(Directory.GetFiles(_scratch["state"], "*.damaged-*"));

        JsonElement again = Scan(_scratch["state"]);
        Assert.Equal(without.Findings().Order(StringComparer.Ordinal), again.Findings().Order(StringComparer.Ordinal));
        Assert.Equal(again.GetProperty("totals").GetProperty("filesScanned").GetInt64(), again.GetProperty("totals").GetProperty("filesCached").GetInt64());

        JsonElement Scan(string state)
        {
            (int status, string output, string error) = Launcher.Run("scan", "--format", "json", "--state", state, "--rules", rules, _scratch["disk.raw"]);
            Assert.True(status == 1, error);
            return JsonDocument.Parse(output).RootElement;
        }
    }

    private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;
}
