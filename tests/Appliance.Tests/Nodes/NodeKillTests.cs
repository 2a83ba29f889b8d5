using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Results.Postgres;
using Vmsweep.Appliance.Tests.Results.Store;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Nodes;

/// <summary>Two appliances as an operator runs them, each a process with a state folder of its own; one is killed in the middle of a sweep.</summary>
[Collection(PostgresCollection.Name)]
public sealed class NodeKillTests(PostgresFixture server) : IDisposable
{
    private const int Vms = 8;
    private static readonly TimeSpan LongEnough = TimeSpan.FromMinutes(4);

    private readonly PostgresRig _server = server.Server;
    private readonly Scratch _scratch = new();

    private readonly List<Process> _services = [];

    public void Dispose()
    {
        // Of a test that failed: they would run for good.
        foreach (Process service in _services.Where(s => !s.HasExited))
        {
            service.Kill(entireProcessTree: true);
            service.WaitForExit();
        }

        _services.ForEach(s => s.Dispose());
        _scratch.Dispose();
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Kill_9_of_one_of_two_nodes_loses_nothing_and_doubles_nothing()
    {
        Launcher.Run("--version");
        Datastore();

        // Undisturbed, by one node, in a database of its own.
        _server.Sql("CREATE SCHEMA calm");
        Configure("calm", "calm", "\"disks\": 4");
        using (Process alone = Start("calm"))
        {
            Assert.True(alone.WaitForExit(LongEnough));
            Assert.Equal(1, alone.ExitCode);
        }

        // Slow enough that one is killed at work.
        _server.Sql("CREATE SCHEMA rough");
        foreach (string node in (string[])["first", "second"])
        {
            Configure(node, "rough", "\"disks\": 2, \"disksPerNode\": 1, \"bytesPerSecond\": \"256K\"");
        }

        using Process first = Start("first");
        using Process second = Start("second");
        Until(() => Nodes("second") is [{ Scanning.Count: > 0 }, { Scanning.Count: > 0 }] && Scanned("rough") >= 2, first, second);
        string victim = Assert.Single(Nodes("second")[0].Scanning);
        Tool.Shell($"kill -9 {first.Id}");
        first.WaitForExit();
        Assert.True(second.WaitForExit(LongEnough));
        Assert.Equal(1, second.ExitCode);

        Assert.Equal(Said("calm"), Said("rough"));
        Assert.Equal(Vms * 3, Said("rough").Count);
        Assert.Equal(Vms, Scanned("rough"));
        Assert.Equal($"{Vms * 3}", _server.Sql("SELECT sum(scans) FROM rough.finding"));
        Assert.Equal("0|0", _server.Sql("SELECT (SELECT count(*) FROM rough.sweep_claim), (SELECT count(*) FROM rough.lease)"));
        Assert.Equal("finished", _server.Sql("SELECT state FROM rough.sweep_plan"));
        Assert.Equal("done", _server.Sql($"SELECT DISTINCT state FROM rough.sweep_planned WHERE report LIKE '%\"{victim}\"%'"));
        Assert.Equal(["first False"], Nodes("second").Select(n => $"{n.Name} {n.IsAlive}"));

        // Asked for again by a service that was late, it is not done twice.
        using Process late = Start("second", "--due", TimeProvider.System.GetUtcNow().AddDays(-1).ToString("O", CultureInfo.InvariantCulture));
        Assert.True(late.WaitForExit(LongEnough));
        Assert.Equal(0, late.ExitCode);
        Assert.Equal(Vms, Scanned("rough"));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Two_services_start_one_sweep_share_it_and_one_goes_on_where_the_other_is_ended_or_killed()
    {
        Launcher.Run("--version");
        Datastore(words: 12_000);
        _server.Sql("CREATE SCHEMA served");
        string when = TimeProvider.System.GetUtcNow().AddSeconds(30).ToString("s m H * * ?", CultureInfo.InvariantCulture);
        foreach (string node in (string[])["first", "second"])
        {
            Configure(node, "served", "\"disks\": 2, \"disksPerNode\": 1, \"bytesPerSecond\": \"64K\"", $"\"when\": \"{when}\", ");
        }

        Process second = Serve("second"), first = Serve("first");
        Until(AreBothScanning, first, second);

        // What it was at is given back at once, and is nobody's fault.
        Tool.Shell($"kill -TERM {first.Id}");
        Assert.True(first.WaitForExit(LongEnough));
        Assert.Equal(0, first.ExitCode);
        Assert.Equal(["second"], Nodes("first").Select(n => n.Name).Distinct());

        Process again = Serve("first");
        Until(AreBothScanning, again, second);
        Tool.Shell($"kill -9 {second.Id} $(cat /proc/{second.Id}/task/*/children)");
        second.WaitForExit();
        Until(() => _server.Sql("SELECT state FROM served.sweep_plan") == "finished", again);
        Tool.Shell($"kill -TERM {again.Id}");
        Assert.True(again.WaitForExit(LongEnough));
        Assert.Equal(0, again.ExitCode);

        // One run, one report, each VM once.
        Assert.Equal($"1|{Vms}|{Vms}|{Vms * 3}", _server.Sql("SELECT (SELECT count(*) FROM served.sweep_plan), (SELECT count(*) FROM served.scan), (SELECT count(DISTINCT machine) FROM served.scan), (SELECT sum(scans) FROM served.finding)"));
        Assert.Equal("0|0", _server.Sql("SELECT (SELECT count(*) FROM served.sweep_claim), (SELECT count(*) FROM served.lease)"));

        bool AreBothScanning() => Nodes("second").Where(n => n is { IsAlive: true, Scanning.Count: > 0 }).Select(n => n.Name).Distinct().Count() == 2;
    }

    private void Datastore(int words = 4000)
    {
        var random = new Random(9);
        for (int i = 0; i < Vms; i++)
        {
            SmallDisk.Make(_scratch[$"ds/vm{i}.raw"], Enumerable.Range(0, 6).ToDictionary(
                f => string.Create(CultureInfo.InvariantCulture, $"home/f{f}.bin"), f => (f % 2 == 0 ? "MARKER " : "") + string.Concat(Enumerable.Range(0, words).Select(_ => random.Next().ToString("x8", CultureInfo.InvariantCulture)))));
        }

        File.WriteAllText(_scratch["rules.yar"], "rule marker { strings: $a = \"MARKER\" condition: $a }\n");
    }

    private void Configure(string node, string schema, string limits, string more = "") => File.WriteAllText(_scratch[$"{node}.json"], $$"""
        { "database": { "connection": "{{_server.Connection}};Search Path={{schema}}", "secret": { "file": "{{_server.Secret}}" }, "node": "{{node}}", "deadAfterSeconds": 4 },
          "sweeps": { "nightly": { {{more}}"what": { "folders": ["{{_scratch["ds"]}}"] }, "signatures": { "rules": ["{{_scratch["rules.yar"]}}"], "engines": ["yara"] }, "limits": { {{limits}} } } } }
        """);

    private Process Start(string node, params string[] more) => Run(["sweep", "run", "nightly", "--no-progress", "--sandbox", "reduced", "--config", _scratch[$"{node}.json"], "--state", _scratch[$"state-{node}"], .. more]);

    private Process Serve(string node)
    {
        _services.Add(Run("serve", "--sandbox", "reduced", "--config", _scratch[$"{node}.json"], "--state", _scratch[$"state-{node}"]));
        return _services[^1];
    }

    private static Process Run(params string[] arguments)
    {
        Process process = Process.Start(new ProcessStartInfo(Path.Combine(RepositoryRoot.Path, "vmsweep"), arguments) { RedirectStandardOutput = true, RedirectStandardInput = true })!;
        process.StandardInput.Close();
        if (arguments[0] is "sweep" or "serve")
        {
            process.OutputDataReceived += (_, _) => { };
            process.BeginOutputReadLine();
        }

        return process;
    }

    private List<NodeState> Nodes(string node)
    {
        using Process list = Run("nodes", "list", "--format", "json", "--config", _scratch[$"{node}.json"]);
        string output = list.StandardOutput.ReadToEnd();
        list.WaitForExit();
        return JsonSerializer.Deserialize<List<NodeState>>(output, JsonSerializerOptions.Web)!;
    }

    private int Scanned(string schema) => int.Parse(_server.Sql($"SELECT count(*) FROM {schema}.scan"), CultureInfo.InvariantCulture);

    private IReadOnlyList<string> Said(string schema)
    {
        using Database database = Database.Open(new DatabasePlace("", PostgresFixture.Settings(_server, $";Search Path={schema}")), TimeProvider.System)!;
        return [.. new FindingQueries(database).List(new FindingFilter()).Select(f => $"{f.VmId} {f.Path} {f.Rule} {f.Sha256} {f.State} {f.Scans}").Order(StringComparer.Ordinal)];
    }

    private static void Until(Func<bool> condition, params Process[] running)
    {
        var patience = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.All(running, p => Assert.False(p.HasExited, "a node ended"));
            Assert.True(patience.Elapsed < LongEnough, "it takes too long");
            Thread.Sleep(200);
        }
    }

    private sealed record NodeState(string Name, bool IsAlive, IReadOnlyList<string> Scanning);
}
