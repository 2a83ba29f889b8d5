using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Inventory;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Golden;
using VmsweepProgram = Vmsweep.Appliance.Tests.Hypervisors.Program;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>VMs of Hyper-V by their files, in the folders that hosts make.</summary>
public sealed class HyperVFilesTests : IDisposable
{
    private static readonly Guid Id = new("0aa394fa-7c4a-4070-ba32-773d43b28a68");
    private static readonly string[] Checkpoints = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", "33333333-3333-3333-3333-333333333333"];
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(".vmcx", 1)]
    [InlineData(".vmcx", 2)]
    [InlineData(".xml", 1)]
    public void A_configuration_is_read_with_its_disks_and_checkpoints(string extension, int generation)
    {
        string configuration = WriteVm(extension, generation);
        Vm vm = Assert.Single(new TargetFinder([]).Find(configuration));

        Assert.Empty(vm.Gaps);
        Assert.Equal((Id.ToString("N"), "web 01", generation), (vm.Identity.Id, vm.Identity.Name, vm.Generation));
        VmDisk disk = Assert.Single(vm.Disks);
        Assert.Equal([Disk("web_3.avhd"), Disk("web_1.avhd"), Disk("web.vhd")], disk.Plan.Files.Select(f => f.Path));
        Assert.Equal(["first", "second", "branch"], vm.Snapshots.Select(s => s.Name));
        Assert.Equal(Checkpoints, vm.Snapshots.Select(s => s.Id));
        Assert.Equal([null, Checkpoints[0], Checkpoints[1]], vm.Snapshots.Select(s => s.ParentId));
        Assert.Equal([false, true, false], vm.Snapshots.Select(s => s.IsCurrent));
        Assert.Equal(2024, vm.Snapshots[0].Created?.Year);

        Vm then = Assert.Single(SnapshotChoice.Choose([vm], "branch", []));
        Assert.Equal([Disk("web_2.avhd"), Disk("web_1.avhd"), Disk("web.vhd")], Assert.Single(then.Disks).Plan.Files.Select(f => f.Path));
    }

    [Fact]
    public void A_scan_of_the_folder_scans_the_VM_once_and_its_side_branch()
    {
        string configuration = WriteVm(".vmcx", 2);
        File.WriteAllBytes(Path.ChangeExtension(configuration, ".vmrs"), new HyperVStoreWriter().Add("configuration/properties/version", 0x0A00L).Build());
        ScanResult result = HostileScan.Folder(_scratch);
        Assert.Equal(1, result.Status);
        Assert.Contains(result.Report.Targets, t => t.Target == configuration && t.Findings.Any(f => f.Rule == "Marked"));
        Assert.Equal([Disk("web_2.avhd"), configuration, _scratch["zz-sound.raw"]], result.Report.Targets.Select(t => t.Target).Order(StringComparer.Ordinal));
        Assert.Empty(result.Report.Targets.SelectMany(t => t.Gaps));
    }

    [Fact]
    public void Info_lists_checkpoints_and_ls_shows_one_of_them()
    {
        string configuration = WriteVm(".vmcx", 2);
        (int status, string output, string error) = VmsweepProgram.Run(["info", configuration, "--format", "json"]);
        Assert.True(status == ExitStatus.Clean, error);
        using var report = JsonDocument.Parse(output);
        JsonElement target = report.RootElement.GetProperty("targets")[0];
        Assert.Equal("web 01", target.GetProperty("vm").GetProperty("name").GetString());
        Assert.Equal(["first", "second", "branch"], target.GetProperty("snapshots").EnumerateArray().Select(s => s.GetProperty("name").GetString()));
        Assert.Equal(3, target.GetProperty("disks")[0].GetProperty("chain").GetArrayLength());

        (status, output, error) = VmsweepProgram.Run(["ls", configuration, "-R", "--files", "--snapshot", "branch"]);
        Assert.True(status == ExitStatus.Clean, error);
        Assert.Contains("A.TXT", output, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void A_saved_state_is_the_VMs_memory_and_an_empty_one_is_none()
    {
        string configuration = WriteVm(".vmcx", 2);
        string state = Path.ChangeExtension(configuration, ".vmrs");
        File.WriteAllBytes(state, new HyperVStoreWriter().Add("configuration/properties/version", 0x0A00L).Build());
        Vm vm = Assert.Single(new TargetFinder([]).Find(configuration));
        Assert.Null(vm.Memory);
        Assert.Equal("unknown", vm.Identity.Power);
        Assert.DoesNotContain(new DatastoreReader([]).Read(_scratch.Folder).Machines, m => m.Kind == MachineKind.Memory);

        File.WriteAllBytes(state, new HyperVStoreWriter().Add("savedstate/VmVersion", 0x0A00L).Add("savedstate/RamBlock0", new byte[5000]).Build());
        vm = Assert.Single(new TargetFinder([]).Find(configuration));
        Assert.Equal((state, "suspended"), (vm.Memory?.Path, vm.Identity.Power));

        // What cannot be read may be one.
        File.WriteAllBytes(state, new byte[100]);
        Assert.NotNull(Assert.Single(new TargetFinder([]).Find(configuration)).Memory);
    }

    /// <summary>Hosts before 2016 keep state and memory as two files in a folder of the VM's GUID.</summary>
    [Fact]
    public void The_two_files_of_an_older_saved_state_are_one_memory()
    {
        string configuration = WriteVm(".xml", 1);
        string stem = Path.ChangeExtension(configuration, null);
        string state = Path.Combine(stem, Path.GetFileName(stem) + ".vsv"), memory = Path.ChangeExtension(state, ".bin");
        Assert.Null(Assert.Single(new TargetFinder([]).Find(configuration)).Memory);
        Directory.CreateDirectory(stem);
        File.WriteAllBytes(memory, new byte[5000]);
        Assert.Null(Assert.Single(new TargetFinder([]).Find(configuration)).Memory);
        File.WriteAllBytes(state, new byte[100]);

        // By its configuration, and in a folder where neither file is taken for something by itself.
        foreach (string target in (string[])[configuration, _scratch.Folder])
        {
            IReadOnlyList<Vm> all = [.. new TargetFinder([]).Find(target)];
            Assert.Single(all, v => v.Memory is not null);
            Vm vm = Assert.Single(all, v => v.Identity.Name == "web 01");
            Assert.Equal(("web 01", "suspended", state), (vm.Identity.Name, vm.Identity.Power, vm.Memory?.Path));
            Assert.Equal([state, memory], vm.Memory!.Plan.Files.Select(f => f.Path));
            Assert.Single(vm.Disks);
        }

        Assert.DoesNotContain(new DatastoreReader([]).Read(_scratch.Folder).Machines, m => m.Kind is MachineKind.Memory);

        // It is recognised, and what is not read of it is said.
        JsonElement report = Launcher.Scan(configuration);
        Assert.Equal("incomplete", report.GetProperty("verdict").GetString());
        JsonElement gap = Assert.Single(report.Gaps());
        Assert.Equal("unsupported", gap.GetProperty("fault").GetString());
        Assert.Contains("Hyper-V", gap.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_checkpoint_that_no_VM_has_is_a_VM_of_its_own()
    {
        string configuration = WriteVm(".vmcx", 2);
        File.Delete(configuration);
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Equal(["first", "second", "branch"], graph.Machines.Where(m => m.IsVm).Select(m => m.Vm.Identity.Name));
        Assert.Equal(FileState.Stale, graph.Files.Single(f => f.Path == Disk("web_3.avhd")).State);
    }

    [Theory]
    [InlineData(@"..\..\other\secret.vhd")]
    [InlineData(@"\\server\share\..\other\secret.vhd")]
    [InlineData(@"C:\VMs\other\secret.vhd")]
    [InlineData("/etc/shadow.vhd")]
    public void A_path_that_leads_out_of_the_VMs_folder_opens_nothing(string pathname)
    {
        Directory.CreateDirectory(_scratch["other"]);
        File.WriteAllBytes(_scratch["other/secret.vhd"], new byte[1 << 20]);
        string configuration = _scratch["web/Virtual Machines/x.vmcx"];
        HyperVFolder.WriteStore(configuration, HyperVFolder.Keys(Id, "web", 1, [pathname]));
        Vm vm = Assert.Single(new TargetFinder([]).Find(configuration));
        Assert.Empty(vm.Disks);
        Assert.Contains(Assert.Single(vm.Gaps).Fault, (string[])["missing-parent", "refused"]);
    }

    [Fact]
    public void A_declared_base_is_used_after_the_VMs_own_folder()
    {
        HyperVFolder.WriteDisk(_scratch["library/web.vhd"], []);
        string configuration = WriteVm(".vmcx", 1);
        HyperVFolder.WriteStore(configuration, HyperVFolder.Keys(Id, "web", 1, [@"C:\VMs\web\Virtual Hard Disks\web.vhd", @"D:\gone\library.vhd"]));
        Assert.Equal(Disk("web.vhd"), Assert.Single(new TargetFinder([_scratch["library"]]).Find(configuration).Single().Disks).Path);
        File.Move(_scratch["library/web.vhd"], _scratch["library/library.vhd"]);
        Assert.Equal([Disk("web.vhd"), _scratch["library/library.vhd"]], new TargetFinder([_scratch["library"]]).Find(configuration).Single().Disks.Select(d => d.Path));
    }

    [Theory]
    [InlineData("x.vmcx", "")]
    [InlineData("x.vmcx", "no store at all")]
    [InlineData("x.xml", "<configuration><properties><name>a</configuration>")]
    [InlineData("x.xml", "<configuration><appender name='STDOUT'/></configuration>")]
    [InlineData("x.xml", "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\">]><configuration>&b;</configuration>")]
    public void What_is_no_configuration_is_a_gap(string name, string content)
    {
        File.WriteAllText(_scratch[name], content);
        Assert.Equal("corrupt", Assert.Single(Assert.Single(new TargetFinder([]).Find(_scratch[name])).Gaps).Fault);
    }

    [Fact]
    public void XML_of_other_programs_in_a_folder_is_no_VM()
    {
        WriteVm(".xml", 1);
        File.WriteAllText(_scratch["logback.xml"], "<configuration><appender name='STDOUT'/></configuration>");
        Assert.Equal("web 01", Assert.Single(new DatastoreReader([]).Read(_scratch.Folder).Machines, m => m.IsVm).Vm.Identity.Name);
    }

    [Fact]
    public void A_configuration_of_gigabytes_is_not_read()
    {
        using (FileStream file = File.Create(_scratch["x.vmcx"]))
        {
            file.SetLength(8L << 30);
        }

        Assert.Contains("larger than", Assert.Single(Assert.Single(new TargetFinder([]).Find(_scratch["x.vmcx"])).Gaps).Detail, StringComparison.Ordinal);
    }

    private string Disk(string name) => _scratch["web/Virtual Hard Disks/" + name];

    /// <summary>Two checkpoints in a line, a third on a branch that was left: the VM writes over what the second froze.</summary>
    private string WriteVm(string extension, int generation)
    {
        byte[] content = HostileScan.Fat($"printf '{HostileScan.Mark}' > a.txt; mcopy -i image a.txt ::A.TXT");
        Guid below = HyperVFolder.WriteDisk(Disk("web.vhd"), content);
        Guid first = HyperVFolder.WriteDisk(Disk("web_1.avhd"), [], "web.vhd", below);
        HyperVFolder.WriteDisk(Disk("web_2.avhd"), [], "web_1.avhd", first);
        HyperVFolder.WriteDisk(Disk("web_3.avhd"), [], "web_1.avhd", first);
        Action<string, List<(string, object)>> write = extension == ".xml" ? HyperVFolder.WriteXml : HyperVFolder.WriteStore;
        string configuration = _scratch[$"web/Virtual Machines/{Id:D}{extension}"];
        write(configuration, HyperVFolder.Keys(Id, "web 01", generation, [@"C:\ClusterStorage\Volume1\web\Virtual Hard Disks\web_3.avhd"]));
        (string Name, string Disk)[] states = [("first", "web.vhd"), ("second", "web_1.avhd"), ("branch", "web_2.avhd")];
        for (int i = 0; i < states.Length; i++)
        {
            write(
                _scratch[$"web/Snapshots/{Checkpoints[i]}{extension}"],
                HyperVFolder.Keys(Id, states[i].Name, generation, [@"C:\ClusterStorage\Volume1\web\Virtual Hard Disks\" + states[i].Disk], created: new DateTimeOffset(2024, 1, 1 + i, 0, 0, 0, TimeSpan.Zero)));
        }

        return configuration;
    }
}
