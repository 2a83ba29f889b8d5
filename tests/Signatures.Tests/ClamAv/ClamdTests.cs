using System.Collections.Concurrent;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Tests.ClamAv;

/// <summary>The real daemon, with a small database.</summary>
public sealed class ClamdTests : IDisposable
{
    private static readonly string[] Loud = ["AlertExceedsMax yes"];

    private readonly List<IDisposable> _open = [];

    public void Dispose() => _open.ForEach(d => d.Dispose());

    [Fact]
    public void Each_kind_of_signature_is_found_with_its_name_origin_and_severity()
    {
        ClamdServer server = Start(Loud);
        using var engine = new ClamdEngine(Options(server), "1");
        Assert.Equal(("Test.Marker.A.UNOFFICIAL", "unofficial", Severity.High, "clamav"), Parts(Match(engine, "xx " + ClamdServer.NdbMarker)));
        Assert.Equal(("PUA.Test.Marker.UNOFFICIAL", "unofficial", Severity.Low, "clamav"), Parts(Match(engine, ClamdServer.PuaMarker)));
        Assert.Equal(("Test.Hash.B.UNOFFICIAL", "unofficial", Severity.High, "clamav"), Parts(Match(engine, ClamdServer.HashedContent)));
        Assert.Equal(("Test.Logic.C.UNOFFICIAL", "unofficial", Severity.High, "clamav"), Parts(Match(engine, ClamdServer.LogicalContent)));
        Assert.Null(Match(engine, "LOGIC-one only").Found);
        Assert.Null(Match(engine, "").Fault);
        Assert.False(engine.UsesNames);

        static (string, string, Severity, string) Parts((Detection? Found, MatchFault? Fault) result) =>
            (result.Found!.Rule, result.Found.Namespace, result.Found.Severity, result.Found.Engine);
    }

    [Fact]
    public void It_finds_what_clamscan_finds()
    {
        ClamdServer server = Start(Loud);
        using var engine = new ClamdEngine(Options(server), "1");
        string folder = Path.GetDirectoryName(Tool.Find(ClamdServer.TestFile))!;
        (_, byte[] output, _) = Tool.Try("clamscan", null, "-d", server.DatabaseFolder, "--no-summary", "--infected", folder);
        string[] theirs = [.. Encoding.UTF8.GetString(output).Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)];
        Assert.InRange(theirs.Length, 10, 100);
        string[] ours = [.. Directory.GetFiles(folder).Select(f => (f, Match(engine, File.ReadAllBytes(f)))).Where(m => m.Item2.Found is not null)
            .Select(m => $"{m.f}: {m.Item2.Found!.Rule} FOUND").Order(StringComparer.Ordinal)];
        Assert.Equal(theirs, ours);
    }

    [Fact]
    public void What_is_over_a_limit_is_a_fault_and_never_clean()
    {
        ClamdServer server = Start([.. Loud, "StreamMaxLength 8M", "MaxFileSize 4M", "MaxScanSize 6M"]);
        using var engine = new ClamdEngine(Options(server), "1");
        Assert.True(ClamdState.Ask(server.Socket, cancellation: TestContext.Current.CancellationToken).TellsLimits);
        AssertLimit(new byte[5 << 20], "MaxFileSize");
        AssertLimit(new byte[(8 << 20) + 1], "StreamMaxLength");
        AssertLimit(new byte[40 << 20], "StreamMaxLength");
        using var scratch = new Scratch();
        Tool.Shell("for i in 1 2 3 4; do head -c 3M /dev/zero | tr '\\0' $i > $i; done; 7z a -tzip -mx=1 all.zip 1 2 3 4 >/dev/null", scratch.Folder);
        AssertLimit(File.ReadAllBytes(scratch["all.zip"]), "MaxScanSize");
        Assert.Null(Match(engine, new byte[4 << 20]).Fault);

        void AssertLimit(byte[] content, string says)
        {
            (Detection? found, MatchFault? fault) = Match(engine, content);
            Assert.Null(found);
            Assert.Equal(MatchFaultKind.Limit, fault!.Kind);
            Assert.Contains(says, fault.Detail, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_daemon_that_does_not_say_what_it_left_out_is_known()
    {
        ClamdServer server = Start([]);
        ClamdState state = ClamdState.Ask(server.Socket, cancellation: TestContext.Current.CancellationToken);
        Assert.False(state.TellsLimits);
        Assert.Matches(@"\A[0-9]+\.[0-9]+", state.Version);
        Assert.Equal((null, null, null), (state.DatabaseVersion, state.DatabaseDate, state.Signatures));
        Assert.Contains("live", state.Threads, StringComparison.Ordinal);
    }

    [Fact]
    public void Many_threads_keep_their_contents_apart()
    {
        ClamdServer server = Start([.. Loud, "MaxThreads 4", "MaxQueue 8", "MaxConnectionQueueLength 2"]);
        using var engine = new ClamdEngine(Options(server), "1");
        var wrong = new ConcurrentBag<string>();
        InThreads(16, (matcher, thread) =>
        {
            for (int i = 0; i < 40; i++)
            {
                bool isBad = (i + thread) % 3 == 0;
                byte[] content = new byte[1 + (i * 3001)];
                Encoding.ASCII.GetBytes(isBad ? ClamdServer.NdbMarker : "nothing").CopyTo(content = [.. content, .. new byte[20]], i);
                (Detection? found, MatchFault? fault) = Match(matcher, content);
                if (fault is not null || found is not null != isBad)
                {
                    wrong.Add($"{thread}/{i}: {found} {fault}");
                }
            }
        }, engine);
        Assert.Empty(wrong);
    }

    [Fact]
    public async Task A_restart_in_the_middle_is_survived()
    {
        ClamdServer server = Start(Loud);
        using var engine = new ClamdEngine(Options(server) with { Timeout = TimeSpan.FromMinutes(3), Outage = TimeSpan.FromMinutes(3) }, "1");
        int done = 0;
        var wrong = new ConcurrentBag<string>();
        using var enough = new CancellationTokenSource();
        Task run = Task.Run(() => InThreads(4, (matcher, thread) =>
        {
            for (int i = 0; !enough.IsCancellationRequested; i++)
            {
                bool isBad = i % 2 == 0;
                (Detection? found, MatchFault? fault) = Match(matcher, Encoding.ASCII.GetBytes($"{thread} {i} {(isBad ? ClamdServer.NdbMarker : "")}"));
                if (fault is not null || found is not null != isBad)
                {
                    wrong.Add($"{thread}/{i}: {found} {fault}");
                }

                Interlocked.Increment(ref done);
            }
        }, engine), TestContext.Current.CancellationToken);
        for (int restart = 0; restart < 2; restart++)
        {
            WaitForMore(100);
            server.Kill();
            Thread.Sleep(500);
            server.Start();
        }

        WaitForMore(100);
        await enough.CancelAsync();
        await run;
        Assert.Empty(wrong);

        void WaitForMore(int count)
        {
            int from = Volatile.Read(ref done);
            SpinWait.SpinUntil(() => Volatile.Read(ref done) >= from + count || run.IsCompleted, TimeSpan.FromMinutes(2));
            Assert.True(Volatile.Read(ref done) >= from + count, string.Join('\n', wrong));
        }
    }

    [Fact]
    public void After_the_end_of_the_daemon_nothing_is_clean_and_waiting_is_bounded()
    {
        ClamdServer server = Start(Loud);
        using var engine = new ClamdEngine(Options(server) with { Outage = TimeSpan.FromSeconds(2) }, "1");
        Assert.Null(Match(engine, "fine").Fault);
        server.Kill();
        InThreads(4, (matcher, _) =>
        {
            for (int i = 0; i < 500; i++)
            {
                (Detection? found, MatchFault? fault) = Match(matcher, "fine"u8.ToArray());
                Assert.Null(found);
                Assert.Equal(MatchFaultKind.Transport, fault!.Kind);
                Assert.Contains("cannot be reached", fault.Detail, StringComparison.Ordinal);
            }
        }, engine);
        Assert.Contains("cannot be reached", Assert.Throws<ClamdException>(() => ClamdState.Ask(server.Socket, cancellation: TestContext.Current.CancellationToken)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_daemon_that_stands_still_costs_the_time_of_one_content_and_can_be_left()
    {
        ClamdServer server = Start(Loud);
        server.Freeze(true);
        try
        {
            using var engine = new ClamdEngine(Options(server) with { Timeout = TimeSpan.FromSeconds(1) }, "1");
            Assert.Equal(MatchFaultKind.Timeout, Match(engine, "small").Fault!.Kind);
            Assert.Equal(MatchFaultKind.Timeout, Match(engine, new byte[16 << 20]).Fault!.Kind);
            using var patient = new ClamdEngine(Options(server) with { Timeout = TimeSpan.FromHours(1) }, "1");
            using IMatcher matcher = patient.CreateMatcher();
            using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(300));
            Assert.Throws<OperationCanceledException>(() => matcher.Match("small"u8, default, [], cancel.Token));
            Assert.Throws<OperationCanceledException>(() => matcher.Match(new byte[16 << 20], default, [], cancel.Token));
        }
        finally
        {
            server.Freeze(false);
        }
    }

    private ClamdServer Start(string[] settings)
    {
        var server = new ClamdServer(settings);
        _open.Add(server);
        return server.Start();
    }

    private static ClamdOptions Options(ClamdServer server) => new() { Socket = server.Socket, Timeout = TimeSpan.FromMinutes(2) };

    private static void InThreads(int count, Action<IMatcher, int> work, ClamdEngine engine) => Task.WaitAll([.. Enumerable.Range(0, count).Select(i => Task.Factory.StartNew(
        () =>
        {
            using IMatcher matcher = engine.CreateMatcher();
            work(matcher, i);
        },
        TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default))]);

    private static (Detection? Found, MatchFault? Fault) Match(ClamdEngine engine, string content) => Match(engine, Encoding.ASCII.GetBytes(content));

    private static (Detection? Found, MatchFault? Fault) Match(ClamdEngine engine, byte[] content)
    {
        using IMatcher matcher = engine.CreateMatcher();
        return Match(matcher, content);
    }

    private static (Detection? Found, MatchFault? Fault) Match(IMatcher matcher, byte[] content)
    {
        List<Detection> found = [];
        MatchFault? fault = matcher.Match(content, default, found, TestContext.Current.CancellationToken);
        return (found.SingleOrDefault(), fault);
    }
}
