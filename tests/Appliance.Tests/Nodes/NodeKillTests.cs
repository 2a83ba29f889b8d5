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

    public void Dispose() => _scratch.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void Kill_9_of_one_of_two_nodes_loses_nothing_and_doubles_nothing()
    {
        Launcher.Run("--version");
        var random = new Random(9);
        for (int i = 0; i < Vms; i++)
        {
            SmallDisk.Make(_scratch[$"ds/vm{i}.raw"], Enumerable.Range(0, 6).ToDictionary(
                f => string.Create(CultureInfo.InvariantCulture, $"home/f{f}.bin"), f => (f % 2 == 0 ? "MARKER " : "") + string.Concat(Enumerable.Range(0, 4000).Select(_ => random.Next().ToString("x8", CultureInfo.InvariantCulture)))));
        }

        File.WriteAllText(_scratch["rules.yar"], "rule marker { strings: $a = \"MARKER\" condition: $a }\n");

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

    private void Configure(string node, string schema, string limits) => File.WriteAllText(_scratch[$"{node}.json"], $$"""
        { "database": { "connection": "{{_server.Connection}};Search Path={{schema}}", "secret": { "file": "{{_server.Secret}}" }, "node": "{{node}}", "deadAfterSeconds": 4 },
          "sweeps": { "nightly": { "what": { "folders": ["{{_scratch["ds"]}}"] }, "signatures": { "rules": ["{{_scratch["rules.yar"]}}"], "engines": ["yara"] }, "limits": { {{limits}} } } } }
        """);

    private Process Start(string node, params string[] more) => Run(["sweep", "run", "nightly", "--no-progress", "--sandbox", "reduced", "--config", _scratch[$"{node}.json"], "--state", _scratch[$"state-{node}"], .. more]);

    private static Process Run(params string[] arguments)
    {
        Process process = Process.Start(new ProcessStartInfo(Path.Combine(RepositoryRoot.Path, "vmsweep"), arguments) { RedirectStandardOutput = true, RedirectStandardInput = true })!;
        process.StandardInput.Close();
        if (arguments[0] == "sweep")
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
