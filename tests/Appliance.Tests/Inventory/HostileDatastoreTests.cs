using System.Buffers.Binary;
using System.Text;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Inventory;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>Datastores whose tenants mean harm, or that change while they are read.</summary>
public sealed class HostileDatastoreTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Names_with_control_characters_reach_no_terminal_and_no_graph_as_they_are()
    {
        const string Evil = "a\u001b[31m\"]; m0 -> evil [label=\"\n\u202e\\";
        Directory.CreateDirectory(_scratch[Evil]);
        WriteImage(Evil + "/" + Evil + ".qcow2", "../\u001b[2Jgone\"\\.qcow2");
        WriteImage(Evil + "/base.qcow2", "");
        WriteImage(Evil + "/child.qcow2", "base.qcow2");
        File.WriteAllText(_scratch[Evil + "/x.vmx"], "displayName = \"web|1B[31m|22]; x -> y\"\nscsi0:0.fileName = \"child.qcow2\"\nguestOS = \"\u001b]0;title\u0007\"\nscsi0:1.fileName = \"/etc/\u001bshadow\"\n");
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        using var text = new StringWriter();
        GraphText.Write(graph, null, text);
        using var dot = new StringWriter();
        GraphDot.Write(graph, dot);
        foreach (string outlet in (string[])[text.ToString(), dot.ToString()])
        {
            Assert.DoesNotContain(outlet, c => (char.IsControl(c) && c != '\n') || c == '\u202e');
            Assert.Contains("\\x1B", outlet, StringComparison.Ordinal);
        }

        // No name ends a string of DOT: what Graphviz sees has as many nodes as there are lines of nodes.
        File.WriteAllText(_scratch["graph.dot"], dot.ToString());
        string[] lines = dot.ToString().Split('\n');
        int nodes = lines.Count(l => l.Contains(" [", StringComparison.Ordinal) && l.StartsWith("  ", StringComparison.Ordinal) && l[2] is 'm' or 'f' or 'x' && !l[..l.IndexOf('[', StringComparison.Ordinal)].Contains("->", StringComparison.Ordinal));
        Assert.Equal(nodes, int.Parse(Tool.Run("gvpr", "BEGIN { int n = 0 } N { n++ } END { print(n) }", _scratch["graph.dot"]), System.Globalization.CultureInfo.InvariantCulture));
    }

    [Theory]
    [InlineData("x.vmx")]
    [InlineData("x.vbox")]
    [InlineData("x.vmc")]
    [InlineData("x.vmcx")]
    [InlineData("x.ovf")]
    public void A_configuration_of_gigabytes_is_a_gap_of_its_own(string name)
    {
        using (FileStream file = File.Create(_scratch[name]))
        {
            file.SetLength(16L << 30);
        }

        WriteImage("sound.qcow2", "");
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Contains(graph.Machines.Single(m => m.Vm.Target == _scratch[name]).Vm.Gaps, g => g.Detail.Contains("larger than", StringComparison.Ordinal));
        Assert.Contains(graph.Machines, m => m.Vm.Target == _scratch["sound.qcow2"] && m.Kind == MachineKind.Image);
    }

    [Fact]
    public void A_chain_longer_than_the_limit_ends_there_and_hides_nothing()
    {
        const int Length = ChainPlanner.MostFiles + 100;
        for (int i = 0; i < Length; i++)
        {
            WriteImage(Layer(i), i == 0 ? "" : Layer(i - 1));
        }

        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Equal(Length, graph.Files.Count);
        Assert.Contains(graph.Missing, m => m.Fault == Fault.Limit);
        Assert.All(graph.Files, f => Assert.NotEmpty(f.Uses));
        Assert.Equal(_scratch[Layer(Length - 1)], graph.Machines[0].Vm.Target);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Many_tops_over_a_long_chain_do_not_cost_the_square()
    {
        for (int i = 0; i < 2000; i++)
        {
            WriteImage(Layer(i), i == 0 ? "" : Layer(i - 1));
            WriteImage(FormattableString.Invariant($"top{i:D5}.qcow2"), Layer(i));
        }

        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Contains(graph.Machines.SelectMany(m => m.Vm.Gaps), g => g.Fault == "limit");
        Assert.True(graph.Machines.Sum(m => m.Vm.Disks.Sum(d => d.Plan.Files.Count)) < 1_200_000);
        Assert.Equal(2000, graph.Machines.Count(m => Path.GetFileName(m.Vm.Target).StartsWith("top", StringComparison.Ordinal)));
    }

    [Fact]
    public void What_comes_and_goes_while_the_folder_is_read_ends_in_no_failure()
    {
        Directory.CreateDirectory(_scratch["stays"]);
        WriteImage("stays/a.qcow2", "");
        bool isDone = false;
        Exception? failure = null;
        var churn = new Thread(() => failure = Record.Exception(() =>
        {
            for (int i = 0; !Volatile.Read(ref isDone); i++)
            {
                string name = FormattableString.Invariant($"f{i % 3}");
                Directory.CreateDirectory(_scratch[name]);
                File.WriteAllText(_scratch[name + "/x.vmx"], "displayName = \"x\"\nscsi0:0.fileName = \"x.qcow2\"\n");
                WriteImage(name + "/x.qcow2", "base.qcow2");
                WriteImage(name + "/base.qcow2", "");
                Directory.Delete(_scratch[name], recursive: true);
            }
        }));
        churn.Start();
        try
        {
            for (int i = 0; i < 200; i++)
            {
                Assert.Contains(new DatastoreReader([]).Read(_scratch.Folder).Machines, m => m.Vm.Target == _scratch["stays/a.qcow2"]);
            }
        }
        finally
        {
            Volatile.Write(ref isDone, true);
            churn.Join();
        }

        Assert.Null(failure);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_folder_of_a_hundred_thousand_small_files_keeps_none_of_them()
    {
        Tool.Shell("mkdir many; cd many; seq 1 100000 | xargs touch", _scratch.Folder);
        WriteImage("many/disk.qcow2", "");
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Equal(100_000, graph.OtherFiles);
        Assert.Equal(_scratch["many/disk.qcow2"], Assert.Single(graph.Files).Path);
    }

    [Fact]
    public void A_running_VMs_disks_are_nobodys_orphans()
    {
        foreach (string name in (string[])["workstation", "esxi"])
        {
            Directory.CreateDirectory(_scratch[name]);
            WriteImage($"{name}/base.qcow2", "");
            WriteImage($"{name}/disk.qcow2", "base.qcow2");
            File.WriteAllText(_scratch[$"{name}/vm.vmx"], "displayName = \"x\"\nscsi0:0.fileName = \"disk.qcow2\"\n");
            File.WriteAllText(_scratch[$"{name}/vm.vmem"], "memory");
        }

        Directory.CreateDirectory(_scratch["workstation/vm.vmx.lck"]);
        File.WriteAllText(_scratch["workstation/vm.vmx.lck/M1.lck"], "");
        File.WriteAllText(_scratch["esxi/.lck-3a00000000000000"], "");
        List<Vm> scanned = [.. new TargetFinder([]).Find(_scratch.Folder)];
        Assert.Equal(2, scanned.Count);
        Assert.All(scanned, vm => Assert.Equal(("running", 0, 1, "refused"), (vm.Identity.Power, vm.Disks.Count, vm.Held.Count, Assert.Single(vm.Gaps).Fault)));

        // A lock that outlived its VM.
        Directory.CreateDirectory(_scratch["workstation/disk.qcow2.lck"]);
        Directory.Delete(_scratch["workstation/vm.vmx.lck"], recursive: true);
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch["workstation"]);
        Assert.Equal(FileState.Stale, graph.Files.Single(f => f.Path.EndsWith("disk.qcow2.lck", StringComparison.Ordinal)).State);
    }

    [Fact]
    public void VMs_that_a_hypervisor_does_not_list_are_told_apart()
    {
        File.WriteAllText(_scratch["a.vmx"], "displayName = \"by id\"\nuuid.bios = \"56 4d 01 02 03 04 05 06-07 08 09 0a 0b 0c 0d 0e\"\n");
        Directory.CreateDirectory(_scratch["web"]);
        WriteImage("web/web.qcow2", "");
        File.WriteAllText(_scratch["web/b.vmx"], "displayName = \"by disk\"\nscsi0:0.fileName = \"web.qcow2\"\n");
        File.WriteAllText(_scratch["c.vmx"], "displayName = \"stranger\"\n");
        InventoryVm Listed(string id, string source) => new(id, "", "off", "", "", "", [], [new InventoryDisk("d1", "file", source, "", false, [])]);
        var registration = new Registration([Listed("564d0102-0304-0506-0708-090a0b0c0d0e", "x"), Listed("other", "[store 1] web/web.qcow2")]);
        Assert.Equal(
            [("by id", true), ("by disk", true), ("stranger", false)],
            new DatastoreReader([]).Read(_scratch.Folder).Machines.OrderBy(m => Path.GetFileName(m.Vm.Target), StringComparer.Ordinal).Select(m => (m.Vm.Identity.Name, registration.Has(m))));
    }

    private static string Layer(int number) => FormattableString.Invariant($"layer{number:D5}.qcow2");

    /// <summary>A qcow2 image of two clusters: what it was made over, and no content.</summary>
    private void WriteImage(string name, string backing)
    {
        byte[] image = new byte[1024];
        BinaryPrimitives.WriteUInt32BigEndian(image, 0x5146_49FB);
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(4), 2);
        byte[] path = Encoding.UTF8.GetBytes(backing);
        if (path.Length > 0)
        {
            BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(8), 104);
            BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(16), (uint)path.Length);
            path.CopyTo(image, 104);
        }

        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(20), 9);
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(24), 32 << 10);
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(36), 1);
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(40), 512);
        File.WriteAllBytes(_scratch[name], image);
    }
}
