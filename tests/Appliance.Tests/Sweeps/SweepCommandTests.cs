using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>Sweeps as an operator runs them: the launcher, workers in their sandboxes, one state folder.</summary>
public sealed class SweepCommandTests : IDisposable
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromMinutes(3);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void A_sweep_is_run_listed_shown_and_cannot_be_misconfigured()
    {
        Datastore(3);
        Configure("\"when\": \"0 22 * * *\", \"timeZone\": \"Europe/Berlin\"");
        (int status, string output, string error) = Sweep("run", "nightly", "--config", Config, "--format", "json");
        Assert.True(status == 1, error);
        JsonElement report = JsonDocument.Parse(output).RootElement;
        Assert.Equal("vmsweep.sweep/1 nightly finished detected", $"{report.GetProperty("schema")} {report.GetProperty("sweep")} {report.GetProperty("state")} {report.GetProperty("verdict")}");
        Assert.Equal(["done", "done", "done"], report.GetProperty("vms").EnumerateArray().Select(v => v.GetProperty("state").GetString()));
        Assert.Equal(3, report.GetProperty("totals").GetProperty("findings").GetInt64());
        string run = report.GetProperty("runId").GetString()!;

        (status, output, _) = Sweep("list", "--config", Config, "--format", "json");
        JsonElement listed = JsonDocument.Parse(output).RootElement[0];
        Assert.Equal((0, "nightly", run, "finished"), (status, listed.GetProperty("name").GetString(), listed.GetProperty("lastRun").GetString(), listed.GetProperty("lastState").GetString()));
        Assert.True(listed.GetProperty("next").GetDateTimeOffset() > TimeProvider.System.GetUtcNow());

        (status, output, _) = Sweep("show", "nightly", "--format", "json");
        Assert.Equal((0, run), (status, JsonDocument.Parse(output).RootElement.GetProperty("runId").GetString()));
        Assert.Equal(2, Sweep("cancel", run).Status);
        Assert.Equal(2, Sweep("resume", "nightly", "--config", Config).Status);
        Assert.Equal(2, Sweep("run", "weekly", "--config", Config).Status);

        // Outside its window it says when that opens. Two dates are enough that today is one of them wherever this runs.
        DateTime today = TimeProvider.System.GetUtcNow().UtcDateTime;
        Configure($"\"blackOut\": [\"{today:yyyy-MM-dd}..{today.AddDays(1):yyyy-MM-dd}\"]");
        (status, _, error) = Sweep("run", "nightly", "--config", Config);
        Assert.True(status == 2 && error.Contains("its window opens at", StringComparison.Ordinal), error);
        Assert.Equal(1, Sweep("run", "nightly", "--config", Config, "--now").Status);

        // Everything is looked at before anything starts.
        Configure("\"windows\": [ { \"start\": \"22:00\", \"end\": \"05:00\" },\n { \"start\": \"04:00\", \"end\": \"06:00\" } ]");
        (status, _, error) = Launcher.Run("doctor", "--config", Config, "--state", _scratch["state"]);
        Assert.True(status == 2 && error.Contains($"{Config}:3: this window and the one of line 2 are open at the same time", StringComparison.Ordinal), error);
        Assert.Equal(2, Sweep("run", "nightly", "--config", Config).Status);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Cancelled_from_another_process_it_ends_and_a_second_run_is_refused_meanwhile()
    {
        Datastore(4);
        // At the least rate each disk takes a minute: it is at work for as long as this needs.
        Tool.Shell("PATH=$PATH:/usr/sbin:/sbin\nfor i in 0 1 2 3; do truncate -s 6M ds/vm0$i.raw; mkfs.fat -F 12 ds/vm0$i.raw >/dev/null; head -c 4000000 /dev/urandom > b.bin; mcopy -i ds/vm0$i.raw b.bin ::B.BIN; done", _scratch.Folder);
        Launcher.Run("--version");
        Configure("\"limits\": { \"disks\": 1, \"bytesPerSecond\": \"64K\" }");
        using Process running = Start("run", "nightly", "--config", Config, "--format", "json");
        Until(() => Launcher.Run("sweep", "show", "nightly", "--format", "json", "--state", _scratch["state"]).Output.Contains("\"running\"", StringComparison.Ordinal), running);
        (int status, _, string error) = Sweep("run", "nightly", "--config", Config);
        Assert.True(status == 2 && error.Contains("runs already", StringComparison.Ordinal), error);
        Assert.Equal(0, Sweep("cancel", "nightly").Status);
        Assert.True(running.WaitForExit(LongEnough));
        Assert.Equal(3, running.ExitCode);
        JsonElement report = JsonDocument.Parse(Sweep("show", "nightly", "--format", "json").Output).RootElement;
        Assert.Equal("cancelled", report.GetProperty("state").GetString());
        Assert.Equal(4, report.GetProperty("totals").GetProperty("skipped").GetInt64() + report.GetProperty("totals").GetProperty("done").GetInt64());
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_service_starts_what_is_due_follows_the_configuration_and_goes_on_after_kill_9()
    {
        Datastore(3);
        Launcher.Run("--version");
        Configure("\"timeZone\": \"Europe/Berlin\"");
        var said = new StringBuilder();
        using (Process service = Serve(said))
        {
            Until(() => Said(said, "nothing is started until one does"), service);
            (int status, _, string error) = Launcher.Run("serve", "--config", Config, "--state", _scratch["state"]);
            Assert.True(status == 2 && error.Contains("another vmsweep serve runs", StringComparison.Ordinal), error);
            Tool.Shell($"kill -TERM {service.Id}");
            Assert.True(service.WaitForExit(LongEnough));
            Assert.Equal(0, service.ExitCode);
        }

        // Slow enough that it is killed at work.
        Configure("\"when\": \"* * * * * ?\", \"limits\": { \"disks\": 1, \"bytesPerSecond\": \"64K\" }");
        using (Process service = Serve(said))
        {
            Until(() => Said(said, "nightly: begins") && Last()?.GetProperty("state").GetString() == "running", service);
            int[] sweeps = [.. Tool.Shell($"cat /proc/{service.Id}/task/*/children").Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(int.Parse)];
            Assert.NotEmpty(sweeps);
            service.Kill();
            Tool.Shell($"kill -9 {string.Join(' ', sweeps)}");
            service.WaitForExit();
        }

        string run = Last()!.Value.GetProperty("runId").GetString()!;
        said.Clear();
        Configure("\"when\": \"0 0 1 1 *\"");
        using (Process service = Serve(said))
        {
            Until(() => Last()?.GetProperty("state").GetString() == "finished", service);
            Assert.Equal(run, Last()!.Value.GetProperty("runId").GetString());
            Until(() => Said(said, "nightly: something was found"), service);
            Assert.True(Said(said, "its last run did not come to its end"), said.ToString());

            // What is wrong changes nothing; what is right is followed.
            File.WriteAllText(Config, "{ \"sweeps\": 1 }");
            Until(() => Said(said, "stays as it was"), service);
            Configure("\"when\": \"* * * * * ?\"");
            Until(() => Last()?.GetProperty("runId").GetString() is { } next && next != run, service);
            Tool.Shell($"kill -INT {service.Id}");
            Assert.True(service.WaitForExit(LongEnough));
            Assert.Equal(0, service.ExitCode);
        }

        // With itself it ended what it had started.
        Assert.DoesNotContain("\"running\"", Sweep("show", "nightly", "--format", "json").Output, StringComparison.Ordinal);

        JsonElement? Last() => Sweep("show", "nightly", "--format", "json") is { Status: 0 } shown ? JsonDocument.Parse(shown.Output).RootElement : null;
    }

    private string Config => _scratch["vmsweep.json"];

    private void Configure(string more) => File.WriteAllText(
        Config, $"{{ \"sweeps\": {{ \"nightly\": {{ \"what\": {{ \"folders\": [\"{_scratch["ds"]}\"] }}, \"signatures\": {{ \"rules\": [\"{_scratch["mark.yar"]}\"] }},\n {more} }} }} }}");

    /// <summary>Disks of which each holds one file that the only rule finds, and something to read.</summary>
    private void Datastore(int disks)
    {
        Directory.CreateDirectory(_scratch["ds"]);
        File.WriteAllText(_scratch["mark.yar"], $"rule Marked {{ strings: $a = \"{HostileScan.Mark}\" condition: $a }}");
        for (int i = 0; i < disks; i++)
        {
            byte[] image = HostileScan.Fat($"printf '{HostileScan.Mark} {i}' > a.txt; mcopy -i image a.txt ::A.TXT; head -c 40000 /dev/urandom > b.bin; mcopy -i image b.bin ::B.BIN");
            File.WriteAllBytes(_scratch[$"ds/vm{i:00}.raw"], image);
        }
    }

    private (int Status, string Output, string Error) Sweep(params string[] arguments) => Launcher.Run(["sweep", .. arguments, "--state", _scratch["state"]]);

    private Process Serve(StringBuilder said)
    {
        // As from a terminal: tests that a script runs in the background have SIGINT ignored, and so would this.
        Process process = Process.Start(new ProcessStartInfo("env", ["--default-signal=INT", Path.Combine(RepositoryRoot.Path, "vmsweep"), "serve", "--config", Config, "--state", _scratch["state"]]) { RedirectStandardError = true })!;
        process.ErrorDataReceived += (_, line) =>
        {
            lock (said)
            {
                said.AppendLine(line.Data);
            }
        };
        process.BeginErrorReadLine();
        return process;
    }

    private static bool Said(StringBuilder said, string text)
    {
        lock (said)
        {
            return said.ToString().Contains(text, StringComparison.Ordinal);
        }
    }

    private Process Start(params string[] arguments)
    {
        Process process = Process.Start(new ProcessStartInfo(Path.Combine(RepositoryRoot.Path, "vmsweep"), ["sweep", .. arguments, "--state", _scratch["state"]]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    private static void Until(Func<bool> isDone, Process? alive)
    {
        long started = Stopwatch.GetTimestamp();
        while (!isDone())
        {
            Assert.True(Stopwatch.GetElapsedTime(started) < LongEnough, "it takes too long");
            Assert.False(alive is { HasExited: true } && !isDone(), "it has ended");
            Thread.Sleep(5);
        }
    }
}
