using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Inventory;
using Vmsweep.Appliance.Reports;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>Stores of Citrix Provisioning, and sets of disks that VMs of Hyper-V share.</summary>
public sealed class ProvisionedStoreTests : IDisposable
{
    private static readonly Guid Id = new("0aa394fa-7c4a-4070-ba32-773d43b28a68");
    private static readonly string[] Data = ["shared_3F2504E0-4F89-11D3-9A0C-0305E82C3301.avhdx", "shared_3F2504E0-4F89-11D3-9A0C-0305E82C3302.avhdx"];

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_manifest_tells_a_store_without_properties_and_what_its_versions_are()
    {
        Guid below = HyperVFolder.WriteDisk(_scratch["win10.vhd"], []);
        Guid first = HyperVFolder.WriteDisk(_scratch["win10.1.avhd"], [], "win10.vhd", below);
        HyperVFolder.WriteDisk(_scratch["win10.2.avhd"], [], "win10.1.avhd", first);
        Manifest("win10.xml", ("win10.vhd", 0, 0), ("win10.1.avhd", 1, 7), ("win10.2.avhd", 2, 1), (@"..\..\etc\win10.3.avhd", 3, 0));
        Manifest("other.xml", ("nothing.vhd", 0, 0));

        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Equal(
            ["win10 ProvisionedImage", "win10 version 1, in test ProvisionedImage", "win10 version 2, in maintenance ProvisionedImage"],
            graph.Machines.Select(m => $"{m.Vm.Identity.Name} {m.Kind}").Order(StringComparer.Ordinal));
        GapReport gap = Assert.Single(graph.Machines.SelectMany(m => m.Vm.Gaps));
        Assert.Equal(("missing-parent", @"..\..\etc\win10.3.avhd"), (gap.Fault, gap.Path));
    }

    [Theory]
    [InlineData("<versionManifest><version><diskFileName>")]
    [InlineData("<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><versionManifest><version><diskFileName>&b;</diskFileName></version></versionManifest>")]
    [InlineData("<versionManifest><version><versionNumber>99999999999999999999</versionNumber><access>-1</access></version></versionManifest>")]
    [InlineData("<domain/>")]
    [InlineData("")]
    public void A_manifest_that_is_none_or_hostile_changes_nothing_else(string xml)
    {
        HyperVFolder.WriteDisk(_scratch["win10.vhd"], []);
        File.WriteAllText(_scratch["win10.xml"], xml);
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        Assert.Empty(Assert.Single(graph.Machines, m => m.Vm.Target.EndsWith(".vhd", StringComparison.Ordinal)).Vm.Gaps);
    }

    [Theory]
    [InlineData("00155D010203.vdiskcache", true)]
    [InlineData("00155D010203.vdiskdif", true)]
    [InlineData("00155D010203.VDISKDIFX", true)]
    [InlineData("vdiskdif.vhd", false)]
    public void Write_caches_are_apart(string name, bool isUnread)
    {
        HyperVFolder.WriteDisk(_scratch[name], []);
        GraphMachine cache = Assert.Single(new DatastoreReader([]).Read(_scratch.Folder).Machines);
        Assert.Equal(MachineKind.WriteCache, cache.Kind);
        Assert.Equal(isUnread, cache.Vm.Gaps.Any(g => g.Structure == "write cache"));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void A_shared_disk_is_read_from_the_data_of_its_set(int files)
    {
        string configuration = SharedVm("web 01", Id);
        foreach (string file in Data.Take(files))
        {
            Tool.Run("qemu-img", "create", "-q", "-f", "vhdx", Path.Combine(_scratch.Folder, "vm/Virtual Hard Disks", file), "8M");
        }

        Vm vm = Assert.Single(new TargetFinder([]).Find(configuration));
        Assert.Equal(Data.Take(files), vm.Disks.Select(d => Path.GetFileName(d.Path)));
        if (files == 1)
        {
            Assert.Empty(vm.Gaps);
        }
        else
        {
            Assert.Equal(files == 0 ? "missing-parent" : "unsupported", Assert.Single(vm.Gaps).Fault);
        }
    }

    [Fact]
    public void A_set_that_two_VMs_share_is_claimed_by_both()
    {
        SharedVm("one", Id);
        SharedVm("two", Guid.NewGuid());
        Tool.Run("qemu-img", "create", "-q", "-f", "vhdx", Path.Combine(_scratch.Folder, "vm/Virtual Hard Disks", Data[0]), "8M");
        Tool.Run("qemu-img", "create", "-q", "-f", "vhdx", _scratch["vm/Virtual Hard Disks/shared_1.avhdx"], "8M");
        OwnershipGraph graph = new DatastoreReader([]).Read(_scratch.Folder);
        GraphFile data = graph.Files.Single(f => f.Path.EndsWith(Data[0], StringComparison.Ordinal));
        Assert.Equal((FileState.Claimed, "data of a set that VMs share"), (data.State, data.Note));
        Assert.Equal((FileState.Owned, "which files a set of shared disks has"), graph.Files.Where(f => f.Path.EndsWith(".vhds", StringComparison.Ordinal)).Select(f => (f.State, f.Note)).Single());
        Assert.Equal(FileState.Orphan, graph.Files.Single(f => f.Path.EndsWith("shared_1.avhdx", StringComparison.Ordinal)).State);
    }

    private string SharedVm(string name, Guid id)
    {
        string configuration = _scratch[$"vm/Virtual Machines/{id:D}.vmcx"];
        HyperVFolder.WriteStore(configuration, HyperVFolder.Keys(id, name, 2, [@"C:\ClusterStorage\Volume1\vm\Virtual Hard Disks\shared.vhds"]));
        Directory.CreateDirectory(_scratch["vm/Virtual Hard Disks"]);
        File.WriteAllBytes(_scratch["vm/Virtual Hard Disks/shared.vhds"], new byte[260 << 10]);
        return configuration;
    }

    private void Manifest(string name, params (string File, int Version, int Access)[] versions) => File.WriteAllText(
        _scratch[name],
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><versionManifest><startingVersion>0</startingVersion>"
        + string.Concat(versions.Select(v => $"<version><versionNumber>{v.Version}</versionNumber><description /><type>0</type><access>{v.Access}</access><deleteWhenFree>0</deleteWhenFree><diskFileName>{v.File}</diskFileName></version>"))
        + "</versionManifest>");
}
