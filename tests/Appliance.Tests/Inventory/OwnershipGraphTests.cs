using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Inventory;
using Vmsweep.Golden;
using VmsweepProgram = Vmsweep.Appliance.Tests.Hypervisors.Program;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>A hundred VMs of every kind against the truth about them.</summary>
public sealed class OwnershipGraphTests(OwnershipGraphTests.Store store) : IClassFixture<OwnershipGraphTests.Store>
{
    private readonly Scratch _scratch = store.Scratch;

    /// <summary>Made once; no test changes it.</summary>
    public sealed class Store : IDisposable
    {
        public Store() => Truth = new GeneratedDatastore(Scratch);

        internal GeneratedDatastore Truth { get; }

        internal Scratch Scratch { get; } = new();

        public void Dispose() => Scratch.Dispose();
    }

    [Fact]
    public void Every_file_has_its_owners_its_chain_and_its_state()
    {
        GeneratedDatastore truth = store.Truth;
        OwnershipGraph graph = new DatastoreReader(truth.Bases).Read(truth.Root);

        Assert.True(truth.Vms.Count > 100);
        Assert.Equal(truth.Vms.Order(StringComparer.Ordinal), graph.Machines.Where(m => m.IsVm).Select(m => m.Vm.Identity.Name).Order(StringComparer.Ordinal));
        Assert.Equal(
            truth.Files.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => Line(f.Key, f.Value.State, f.Value.Owners, f.Value.Parent)),
            graph.Files.Select(f => Line(f.Path, f.State, f.Uses.Select(u => graph.Machines[u.Machine]).Where(m => m.IsVm).Select(m => m.Vm.Identity.Name), f.Parent?.Path)));
        Assert.Equal(
            truth.Alone.OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => $"{a.Key} {a.Value}"),
            graph.Machines.Where(m => !m.IsVm).OrderBy(m => m.Vm.Target, StringComparer.Ordinal).Select(m => $"{Path.GetRelativePath(truth.Root, m.Vm.Target)} {m.Kind}"));
        Assert.Equal(truth.Missing.Order(), graph.Missing.Select(m => (m.From, m.Name)).Distinct().Order());
        Assert.Equal(_scratch["lost/a.qcow2"], graph.Missing.Single(m => m.From.Contains("thief", StringComparison.Ordinal)).Candidate);
        Assert.Empty(graph.NotOpened);

        // What a scan of the folder scans is the graph's, and nothing of a running VM.
        List<Vm> scanned = [.. new TargetFinder(truth.Bases).Find(truth.Root)];
        Assert.Equal(graph.Targets.Select(v => v.Target), scanned.Select(v => v.Target));
        Assert.DoesNotContain(scanned.SelectMany(v => v.Disks), d => d.Path.Contains("plain01", StringComparison.Ordinal));
        Assert.Contains(scanned.Single(v => v.Identity.Name == "plain01").Gaps, g => g.Detail.Contains("runs", StringComparison.Ordinal));

        string Line(string path, FileState state, IEnumerable<string> owners, string? parent) =>
            $"{Path.GetRelativePath(truth.Root, path)} {state} [{string.Join(' ', owners.Order(StringComparer.Ordinal))}]{(parent is null ? "" : " over " + Path.GetRelativePath(truth.Root, parent))}";
    }

    [Fact]
    public void The_command_tells_it_as_tree_JSON_and_DOT()
    {
        GeneratedDatastore truth = store.Truth;
        string[] bases = [.. truth.Bases.SelectMany(b => (string[])["--base", b])];
        (int status, string json, string error) = VmsweepProgram.Run(["inventory", truth.Root, "--format", "json", .. bases]);
        Assert.True(status == ExitStatus.Clean, error);
        using var report = JsonDocument.Parse(json);
        JsonElement root = report.RootElement;
        Assert.Equal("vmsweep.inventory/1", root.GetProperty("schema").GetString());

        // As before the graph was there: VMs and orphans in one list, with their disks and chains.
        JsonElement clone = root.GetProperty("vms").EnumerateArray().Single(v => v.GetProperty("name").GetString() == "clone07");
        JsonElement disk = clone.GetProperty("disks")[0];
        Assert.Equal([_scratch["kvm/clone07/disk.qcow2"], _scratch["base/golden.qcow2"]], disk.GetProperty("chain").EnumerateArray().Select(c => c.GetString()));
        Assert.Equal(("file", _scratch["kvm/clone07/disk.qcow2"], "qcow2"), (disk.GetProperty("type").GetString(), disk.GetProperty("source").GetString(), disk.GetProperty("format").GetString()));
        Assert.Equal(truth.Vms.Count + truth.Alone.Count, root.GetProperty("vms").GetArrayLength());

        JsonElement graph = root.GetProperty("graph");
        Assert.Equal(truth.Files.Count, graph.GetProperty("files").GetArrayLength());
        Assert.Equal(truth.Vms.Count, graph.GetProperty("counts").GetProperty("vms").GetInt32());
        JsonElement golden = graph.GetProperty("files").EnumerateArray().Single(f => f.GetProperty("path").GetString() == _scratch["base/golden.qcow2"]);
        Assert.Equal(("shared", "disk", "qcow2", 20, 20), (golden.GetProperty("state").GetString(), golden.GetProperty("kind").GetString(), golden.GetProperty("format").GetString(), golden.GetProperty("children").GetInt32(), golden.GetProperty("usedBy").GetArrayLength()));

        (status, string text, error) = VmsweepProgram.Run(["inventory", truth.Root, .. bases]);
        Assert.True(status == ExitStatus.Clean, error);
        Assert.Contains($"    over {_scratch["base/golden.qcow2"]}  shared", text, StringComparison.Ordinal);
        Assert.Contains("Claimed by several VMs\n  " + _scratch["esx/twins/one.vmdk"] + "  vmdk  2: twin1, twin2\n", text, StringComparison.Ordinal);
        Assert.Contains("20: clone00, clone01, clone02, clone03, clone04 and 15 more", text, StringComparison.Ordinal);

        // Graphviz itself reads it.
        (status, string dot, error) = VmsweepProgram.Run(["inventory", truth.Root, "--format", "dot", .. bases]);
        Assert.True(status == ExitStatus.Clean, error);
        using var elsewhere = new Scratch();
        File.WriteAllText(elsewhere["graph.dot"], dot);
        string nodes = Tool.Run("gvpr", "BEGIN { int n = 0; int e = 0 } N { n++ } E { e++ } END { print(n, \" \", e) }", elsewhere["graph.dot"]);
        Assert.Equal($"{dot.Split('\n').Count(l => l.Contains(" [", StringComparison.Ordinal) && !l.Contains("->", StringComparison.Ordinal) && !l.Contains("rankdir", StringComparison.Ordinal))} {dot.Split('\n').Count(l => l.Contains("->", StringComparison.Ordinal))}", nodes.Trim());
    }
}
