using System.Diagnostics;
using System.Text;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>A worker that was taken over or broke costs its own disk and nothing else.</summary>
public sealed class WorkerMisbehaviourTests
{
    [Theory]
    [InlineData("kill -SEGV $$", "corrupt")]
    [InlineData("kill -KILL $$", "corrupt")]
    [InlineData("exit 0", "corrupt")]
    [InlineData("exit 1", "corrupt")]
    [InlineData("echo \"why it died\" >&2; exit 134", "corrupt")]
    [InlineData("kill -STOP $$", "timeout")]
    [InlineData("exec sleep 1000", "timeout")]
    [InlineData("sleep 1000 & sleep 1000 & wait", "timeout")]
    [InlineData("cat >/dev/null; exec 1>&-; exec sleep 1000", "corrupt")]
    [InlineData("exec head -c 100000 /dev/urandom", "corrupt")]
    [InlineData("cat /dev/zero >&2", "timeout")]
    [InlineData("exec cat /dev/zero >&2", "corrupt")]
    [InlineData("exec cat /dev/zero", "corrupt")]
    [InlineData("printf '\\377\\377\\377\\177\\001'; exec sleep 1000", "corrupt")]
    [InlineData("printf '\\000\\000\\000\\200\\001'; exec sleep 1000", "corrupt")]
    [InlineData("printf '\\000\\000\\000\\001\\001'; exec sleep 1000", "timeout")]
    [InlineData("printf '\\001\\000'", "corrupt")]
    [InlineData("while :; do printf '\\005\\000\\000\\000\\002hello' || exit; done", "corrupt")]
    public void A_worker_that_ends_hangs_or_speaks_garbage_costs_its_disk(string script, string fault) => Check(script, fault);

    [Theory]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"event\":\"nothing\"}")]
    [InlineData("{\"event\":\"gap\"}")]
    [InlineData("{\"event\":\"gap\",\"gap\":null}")]
    [InlineData("{\"event\":\"gap\",\"gap\":{\"fault\":\"\\u001b[31m\",\"path\":\"a\",\"structure\":\"b\",\"offset\":0,\"bytes\":0,\"detail\":\"c\"}}")]
    [InlineData("{\"event\":\"finding\",\"finding\":{}}")]
    [InlineData("{\"event\":\"disk\",\"format\":null,\"sizeBytes\":0,\"sectorBytes\":0,\"scheme\":\"\",\"chain\":[]}")]
    [InlineData("{\"event\":\"disk\",\"format\":\"raw\",\"sizeBytes\":-5,\"sectorBytes\":0,\"scheme\":\"\",\"chain\":[]}")]
    [InlineData("{\"event\":\"disk\",\"format\":\"raw\",\"sizeBytes\":1,\"sectorBytes\":0,\"scheme\":\"\\u001b[2J\",\"chain\":[]}")]
    [InlineData("{\"event\":\"volume\",\"volume\":{\"id\":\"\\u001b]0;x\",\"scheme\":\"\",\"fileSystem\":\"\",\"label\":\"\",\"offsetBytes\":0,\"sizeBytes\":0}}")]
    [InlineData("{\"event\":\"progress\",\"steps\":1,\"bytesDone\":0,\"bytesTotal\":0,\"coverage\":{\"v1\":{\"filesSeen\":-1}}}")]
    [InlineData("{\"event\":\"progress\",\"steps\":1,\"bytesDone\":0,\"bytesTotal\":0,\"coverage\":null}")]
    [InlineData("{\"event\":\"entries\",\"entries\":[null]}")]
    [InlineData("{\"event\":\"progress\",\"steps\":1,\"bytesDone\":0,\"bytesTotal\":0,\"coverage\":{\"v1\":null}}")]
    [InlineData("{\"event\":\"ask\",\"keys\":\"AAAA\"}")]
    [InlineData("{\"event\":\"ask\",\"keys\":null}")]
    [InlineData("{\"event\":\"keep\",\"verdicts\":[{\"key\":\"AAAA\",\"payload\":\"\"}]}")]
    [InlineData("{\"event\":\"keep\",\"verdicts\":[null]}")]
    [InlineData("{\"event\":\"entries\",\"entries\":[{\"path\":\"a\\nb\",\"kind\":\"file\",\"sizeBytes\":0,\"sha256\":\"\"}]}")]
    [InlineData("{\"event\":\"entries\",\"entries\":[{\"path\":\"a\",\"kind\":\"file\",\"sizeBytes\":0,\"sha256\":\"\\u001b[31m\"}]}")]
    public void An_event_that_no_worker_of_ours_sends_costs_its_disk(string json) => Check($"{Frame(json)}; exec sleep 1000", "corrupt");

    [Fact]
    public void A_flood_of_events_does_not_fill_the_supervisor()
    {
        string gap = "{\"event\":\"gap\",\"gap\":{\"fault\":\"corrupt\",\"path\":\"a\",\"structure\":\"b\",\"offset\":0,\"bytes\":0,\"detail\":\"" + new string('x', 1000) + "\"}}";
        Check($"{Frame(gap)} > f; while cat f; do :; done", "corrupt");
    }

    [Fact]
    public void Sums_that_a_worker_claims_do_not_overflow() => Check(
        Frame("""{"event":"volume","volume":{"id":"v1","scheme":"","fileSystem":"","label":"","offsetBytes":0,"sizeBytes":9223372036854775807}}""") + ";"
        + Frame("""{"event":"volume","volume":{"id":"v2","scheme":"","fileSystem":"","label":"","offsetBytes":0,"sizeBytes":9223372036854775807}}""") + ";"
        + Frame("""{"event":"progress","steps":1,"bytesDone":0,"bytesTotal":0,"coverage":{"v1":{"filesSeen":9223372036854775807,"bytesSeen":9223372036854775807},"v2":{"filesSeen":9223372036854775807,"bytesSeen":9223372036854775807}}}"""),
        "corrupt");

    [Fact]
    public void What_a_worker_says_on_its_way_out_does_not_act_on_a_terminal()
    {
        ScanResult result = Check("printf '\\033[2Jgone\\n' >&2; exit 3", "corrupt");
        Assert.DoesNotContain('\e', result.Text);
        Assert.Contains("gone", result.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_worker_that_asks_and_does_not_listen_hangs()
    {
        using var scratch = new Scratch();
        string ask = Frame("{\"event\":\"ask\",\"keys\":\"" + Convert.ToBase64String(new byte[ContentKey.Bytes]) + "\"}");
        var bad = new WorkerProcess(
            (_, _) => new ProcessStartInfo("bash", ["-c", $"{ask} > f; while cat f; do :; done"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = scratch.Folder },
            TimeSpan.FromSeconds(1));
        var job = new ScanJob(null, [], 1, 1 << 20, 60) { Limits = InProcess.Limits, Disks = [], Plans = [default] };
        Assert.Equal(WorkerEnd.Hung, bad.Run(job, [], e => (e as AskEvent)?.Answer?.Invoke(new byte[100_000]), null, TestContext.Current.CancellationToken).End);
    }

    [Fact]
    public void A_listing_that_somebody_reads_slowly_is_no_hang()
    {
        string entries = Frame("{\"event\":\"entries\",\"entries\":[{\"path\":\"v1/a\",\"kind\":\"file\",\"sizeBytes\":0,\"sha256\":\"\"}]}");
        var worker = new WorkerProcess(
            (_, _) => new ProcessStartInfo("bash", ["-c", $"{entries}; {entries}; sleep 1; {Frame("{\"event\":\"done\"}")}"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true },
            TimeSpan.FromSeconds(10));
        int shown = 0;
        WorkerOutcome outcome = worker.Run(
            new ListJob("", true, true, false, 1) { Limits = InProcess.Limits, Disks = [] },
            [],
            e =>
            {
                if (e is EntriesEvent && ++shown == 1)
                {
                    Thread.Sleep(TimeSpan.FromSeconds(12));
                }
            },
            null,
            TestContext.Current.CancellationToken);
        Assert.Equal((WorkerEnd.Done, 2), (outcome.End, shown));
    }

    [Fact]
    public void A_program_that_is_not_there_is_a_gap()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["bad.raw"], new byte[512]);
        var missing = new WorkerProcess((_, _) => new ProcessStartInfo("/nothing/of/this/name"), TimeSpan.FromSeconds(1));
        ScanResult result = HostileScan.With(new OneBadWorker(missing), TestContext.Current.CancellationToken, scratch["bad.raw"]);
        result.Gap("corrupt", "bad.raw");
    }

    private static string Frame(string json)
    {
        byte[] payload = Encoding.UTF8.GetBytes(json);
        byte[] frame = [.. BitConverter.GetBytes(payload.Length), 1, .. payload];
        return "printf '" + string.Concat(frame.Select(b => "\\" + Convert.ToString(b, 8).PadLeft(3, '0'))) + "'";
    }

    private static ScanResult Check(string script, string fault)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["bad.raw"], new byte[512]);
        HostileScan.AddSound(scratch);
        var bad = new WorkerProcess(
            (_, _) => new ProcessStartInfo("bash", ["-c", script]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = scratch.Folder },
            // Only a worker that is to be found hanging is waited for.
            TimeSpan.FromSeconds(fault == "timeout" ? 1 : 60))
        {
            MostEventBytes = 4 << 20,
        };
        long before = GC.GetTotalMemory(forceFullCollection: true);
        long started = Stopwatch.GetTimestamp();
        ScanResult result = HostileScan.With(new OneBadWorker(bad), TestContext.Current.CancellationToken, scratch.Folder);

        result.AssertSoundScanned();
        Assert.Equal("worker", result.Gap(fault, "bad.raw").Structure);
        Assert.Equal(3, result.Status);
        Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(200));

        // Other tests of this process have memory of their own meanwhile: what one of them holds goes again.
        Assert.True(SpinWait.SpinUntil(() => GC.GetTotalMemory(forceFullCollection: true) - before < 100 << 20, TimeSpan.FromMinutes(2)), "memory is still held");
        return result;
    }

    /// <summary>Sound but for disks named <c>bad</c>.</summary>
    private sealed class OneBadWorker(WorkerProcess bad) : IWorker
    {
        private readonly InProcessWorker _sound = new();

        public WorkerOutcome Run(
            WorkerJob job, IReadOnlyList<(string Host, string Inside)> binds, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, CancellationToken cancellation) =>
            job is VmJob vm && Path.GetFileName(vm.Disks[0].Files[0].Name).StartsWith("bad", StringComparison.Ordinal)
                ? bad.Run(job, binds, onEvent, onData, cancellation)
                : _sound.Run(job, binds, onEvent, onData, cancellation);
    }
}
