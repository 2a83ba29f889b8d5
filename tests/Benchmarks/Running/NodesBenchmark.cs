using System.Diagnostics;
using System.Globalization;
using System.Text;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Nodes;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Sweeps.Running;
using Vmsweep.Rigs;

namespace Vmsweep.Benchmarks.Running;

/// <summary>
/// Nodes on one PostgreSQL, each a process of its own that runs the product's sweep with an engine that sleeps: what is measured is how the work is handed out and written down. Four against one;
/// then one of four is killed.
/// </summary>
internal static class NodesBenchmark
{
    public const string NodeCommand = "nodes-node";

    private const string WarmUp = "_warm_up_";
    private const int Nodes = 4;
    private const int DisksOfNode = 2;
    private const int FindingsOfVm = 20;
    private static readonly TimeSpan Scan = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongEnough = TimeSpan.FromMinutes(3);

    public static bool Run(int vms)
    {
        using var server = new PostgresRig();
        Work one = Throughput(server, "one", 1, vms / Nodes, kills: false);
        Work four = Throughput(server, "four", Nodes, vms, kills: false);
        bool isReached = four.Rate / one.Rate >= 3.5;
        Console.WriteLine(FormattableString.Invariant(
            $"nodes: one scans {one.Rate:0.00} VMs/s, {Nodes} scan {four.Rate:0.00} VMs/s: ratio {four.Rate / one.Rate:0.00} (at least 3.5: {(isReached ? "reached" : "MISSED")}); load {Numbers.Load}"));
        foreach ((string name, Work work) in new[] { ("one", one), ($"{Nodes}", four) })
        {
            Console.WriteLine(FormattableString.Invariant(
                $"  {name}: processor for each VM {work.OfNodes.TotalMilliseconds:0} ms of nodes, {work.OfServer.TotalMilliseconds:0} ms of the server: {(work.OfNodes + work.OfServer).TotalSeconds * work.Rate:0.00} of {Environment.ProcessorCount} processors"));
        }

        Throughput(server, "killed", Nodes, vms, kills: true);
        string left = server.Sql("SELECT (SELECT count(*) FROM killed.scan), (SELECT count(*) FROM killed.finding), (SELECT sum(scans) FROM killed.finding), (SELECT count(*) FROM killed.sweep_planned WHERE state = 'done')");
        bool isWhole = left == string.Create(CultureInfo.InvariantCulture, $"{vms}|{vms * FindingsOfVm}|{vms * FindingsOfVm}|{vms}");
        Console.WriteLine($"nodes: one of {Nodes} killed at work: {left} scans, findings, their sightings, VMs done ({(isWhole ? "nothing lost, nothing doubled" : "WRONG")})");
        return isReached && isWhole;
    }

    /// <summary>One node, in a process that the benchmark starts.</summary>
    public static int RunNode(string connection, string secret, string name, int vms)
    {
        // Compiled before the time is taken, as a service that has run for a while is.
        _ = RunNode($"{connection}{WarmUp}{name}", secret, name, DisksOfNode, isWarmUp: true);
        return RunNode(connection, secret, name, vms, isWarmUp: false);
    }

    private static int RunNode(string connection, string secret, string name, int vms, bool isWarmUp)
    {
        ApplianceConfiguration configuration = ApplianceConfiguration.Parse("v.json", Encoding.UTF8.GetBytes($$"""
            { "database": { "connection": "{{connection}}", "secret": { "file": "{{secret}}" }, "node": "{{name}}", "deadAfterSeconds": 4 },
              "sweeps": { "nightly": { "what": { "folders": ["/none"] }, "limits": { "disks": 1000, "disksPerNode": {{DisksOfNode}} } } } }
            """));
        SweepSettings sweep = configuration.Sweeps.Sweeps["nightly"];
        PostgresSettings server = configuration.Server!;
        var place = new DatabasePlace("", server);
        using SweepStore store = SweepStore.Open(place, TimeProvider.System);
        using ResultLog results = ResultLog.Open(place, TimeProvider.System)!;
        using NodeSession session = NodeSession.Join(server);
        using VmClaims claims = VmClaims.Open(session);
        IReadOnlyList<SweepVm> listed = [.. Enumerable.Range(0, vms).Select(Vm)];

        if (isWarmUp)
        {
            SweepRunner.Plan(sweep, store, listed, TimeProvider.System);
        }
        else
        {
            // All are there before any begins: what is measured is the work, not the start of a program.
            Console.WriteLine("ready");
            Console.ReadLine();
        }

        string run = store.Last(sweep.Name, 1)[0].Id;
        session.Work(run, isIdle: false);
        string locks = Directory.CreateTempSubdirectory("vmsweep-nodes-").FullName;
        TimeSpan before = Environment.CpuUsage.TotalTime;
        try
        {
            using var runner = new SweepRunner(sweep, store, new SweepLocks(locks), new Sleeper(), results, TimeProvider.System, new Sleeper(), null, claims);
            return runner.Run(run, listed, CancellationToken.None).State == SweepStates.Finished ? 0 : 1;
        }
        finally
        {
            Directory.Delete(locks, recursive: true);
            if (!isWarmUp)
            {
                Console.WriteLine((Environment.CpuUsage.TotalTime - before).Ticks.ToString(CultureInfo.InvariantCulture));
            }
        }
    }

    private static Work Throughput(PostgresRig server, string schema, int nodes, int vms, bool kills)
    {
        foreach (string made in (string[])[schema, .. Enumerable.Range(0, nodes).Select(i => $"{schema}{WarmUp}node{i}")])
        {
            server.Sql("CREATE SCHEMA " + made);
        }

        string connection = $"{server.Connection};Search Path={schema}";
        var place = new DatabasePlace("", new PostgresSettings(connection, new SecretSource(server.Secret, null), "benchmark"));
        using (SweepStore store = SweepStore.Open(place, TimeProvider.System))
        {
            store.Begin("run", "nightly", TimeProvider.System.GetUtcNow(), [.. Enumerable.Range(0, vms).Select(Vm).Select(v => (v.Key, SweepVmReports.Planned(v)))]);
        }

        List<Process> running = [.. Enumerable.Range(0, nodes).Select(i => Process.Start(new ProcessStartInfo(
            Environment.ProcessPath!, [NodeCommand, connection, server.Secret, $"node{i}", vms.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardInput = true, RedirectStandardOutput = true })!)];
        try
        {
            running.ForEach(p => p.StandardOutput.ReadLine());
            TimeSpan serverBefore = server.Processor;
            long began = Stopwatch.GetTimestamp();
            running.ForEach(p => p.StandardInput.WriteLine());
            if (kills)
            {
                Thread.Sleep(Scan * 1.5);
                running[0].Kill();
            }

            foreach (Process process in running.Skip(kills ? 1 : 0))
            {
                if (!process.WaitForExit(LongEnough) || process.ExitCode != 0)
                {
                    throw new InvalidOperationException("a node did not come to the end of its sweep");
                }
            }

            double rate = vms / Stopwatch.GetElapsedTime(began).TotalSeconds;

            // The server's process for a connection is counted when it has ended.
            Thread.Sleep(500);
            TimeSpan nodesTook = TimeSpan.FromTicks(running.Skip(kills ? 1 : 0).Sum(p => long.Parse(p.StandardOutput.ReadToEnd(), CultureInfo.InvariantCulture)));
            return new Work(rate, nodesTook / vms, (server.Processor - serverBefore) / vms);
        }
        finally
        {
            foreach (Process process in running)
            {
                if (!process.HasExited)
                {
                    process.Kill();
                }

                process.Dispose();
            }
        }
    }

    /// <param name="Rate">VMs a second.</param>
    /// <param name="OfNodes">Processor time for each VM.</param>
    private readonly record struct Work(double Rate, TimeSpan OfNodes, TimeSpan OfServer);

    private static SweepVm Vm(int number) => new($"vm{number:0000}", $"vm{number:0000}")
    {
        Id = $"vm{number:0000}",
        Target = $"/none/vm{number:0000}",
        Datastores = ["/none"],
        Open = _ => throw new NotSupportedException(),
    };

    /// <summary>An engine that finds some things after a while.</summary>
    private sealed class Sleeper : ISweepScanner, ISweepListener
    {
        public SweepScan Scan(SweepVm vm, bool onlyChanges, DateTimeOffset inheritFrom, IScanPacing? pacing, IScanListener listener, CancellationToken cancellation)
        {
            cancellation.WaitHandle.WaitOne(NodesBenchmark.Scan);
            var target = new TargetReport { Target = vm.Target, Vm = new VmReport(vm.Id, vm.Name, "off", "") };
            target.Findings.AddRange(Enumerable.Range(0, FindingsOfVm).Select(i => new FindingReport
            {
                Path = $"v1/file{i}", SizeBytes = 1, Sha256 = new string('a', 64), Engine = "yara", Rule = "rule", Namespace = "default", Severity = "high",
            }));
            return new SweepScan(target, []);
        }

        public void OnProgress(SweepProgress progress)
        {
        }

        public void OnVm(SweepVmReport vm)
        {
        }

        public void OnWaiting(DateTimeOffset until)
        {
        }
    }
}
