using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Tests.Containers;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>Chains that turn back on themselves, lack a link, have another one, or never end.</summary>
public sealed class HostileChainTests
{
    private static byte[] Delta(string name, uint cid, uint parentCid, string parent) => VmdkImages.Hosted(
        [Grain.Data(1), Grain.Hole], VmdkImages.Descriptor("monolithicSparse", $"RW 32 SPARSE \"{name}\"", cid, parentCid, parent));

    private static byte[] Base(string name, uint cid) => VmdkImages.Hosted(
        [Grain.Data(7), Grain.Data(8)], VmdkImages.Descriptor("monolithicSparse", $"RW 32 SPARSE \"{name}\"", cid));

    [Fact]
    public void Images_that_are_each_others_parent_do_not_hide_each_other()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["a.vmdk"], Delta("a.vmdk", 1, 2, "b.vmdk"));
        File.WriteAllBytes(scratch["b.vmdk"], Delta("b.vmdk", 2, 1, "a.vmdk"));
        ScanResult result = HostileScan.Folder(scratch);

        Assert.Contains("its own ancestor", result.Gap("corrupt", "a.vmdk").Detail, StringComparison.Ordinal);
        Assert.Equal(3, result.Status);
    }

    [Fact]
    public void A_circle_that_is_entered_from_outside_ends()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["a.vmdk"], Delta("a.vmdk", 1, 2, "b.vmdk"));
        File.WriteAllBytes(scratch["b.vmdk"], Delta("b.vmdk", 2, 3, "c.vmdk"));
        File.WriteAllBytes(scratch["c.vmdk"], Delta("c.vmdk", 3, 2, "b.vmdk"));
        Assert.Contains("its own ancestor", HostileScan.Folder(scratch).Gap("corrupt", "a.vmdk").Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_image_that_is_its_own_parent_is_refused()
    {
        using var scratch = new Scratch();
        var id = Guid.NewGuid();
        File.WriteAllBytes(scratch["a.vmdk"], Delta("a.vmdk", 1, 1, "a.vmdk"));
        File.WriteAllBytes(scratch["b.vhdx"], new VhdxWriter { DataWriteGuid = id, Parent = [("parent_linkage", id.ToString("B")), ("relative_path", ".\\b.vhdx")] }.Build());
        ScanResult result = HostileScan.Folder(scratch);
        result.Gap("corrupt", "a.vmdk");
        result.Gap("corrupt", "b.vhdx");
        Assert.Equal(3, result.Status);
    }

    [Fact]
    public void An_image_that_names_itself_as_extent_ends()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["a.vmdk"], VmdkImages.Descriptor("monolithicFlat", "RW 16 FLAT \"a.vmdk\" 0"));
        ScanResult result = HostileScan.Folder(scratch);
        result.Gap("truncated", "a.vmdk");
        Assert.Equal(3, result.Status);
    }

    [Theory]
    [InlineData(64, true)]
    [InlineData(300, false)]
    public void Long_chains_are_read_and_absurd_ones_refused(int layers, bool isRead)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["l0.vmdk"], Base("l0.vmdk", 100));
        for (uint i = 1; i < layers; i++)
        {
            File.WriteAllBytes(scratch[$"l{i}.vmdk"], Delta($"l{i}.vmdk", 100 + i, 99 + i, $"l{i - 1}.vmdk"));
        }

        ScanResult result = HostileScan.Folder(scratch);
        DiskReport leaf = result.Report.Targets.Single(t => t.Target.EndsWith($"l{layers - 1}.vmdk", StringComparison.Ordinal)).Disks[0];
        if (isRead)
        {
            Assert.Equal(layers, leaf.Chain.Count);
            Assert.Equal(2, result.Report.Targets.Count);
        }
        else
        {
            Assert.Contains("layers", result.Gap("limit", $"l{layers - 1}.vmdk").Detail, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_parent_of_another_identity_is_no_parent()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["base.vmdk"], Base("base.vmdk", 0xAAAA));
        File.WriteAllBytes(scratch["leaf.vmdk"], Delta("leaf.vmdk", 1, 0xBBBB, "base.vmdk"));
        File.WriteAllBytes(scratch["base.vhdx"], new VhdxWriter().Build());
        File.WriteAllBytes(scratch["leaf.vhdx"], new VhdxWriter { Parent = [("parent_linkage", Guid.NewGuid().ToString("B")), ("relative_path", ".\\base.vhdx")] }.Build());
        ScanResult result = HostileScan.Folder(scratch);
        result.Gap("missing-parent", "leaf.vmdk");
        result.Gap("missing-parent", "leaf.vhdx");
        Assert.All(result.Report.Targets.Where(t => t.Target.Contains("leaf", StringComparison.Ordinal)), t => Assert.Empty(t.Disks[0].Volumes));
        Assert.Equal(3, result.Status);
    }

    [Fact]
    public void A_parent_of_an_unread_format_is_a_named_gap()
    {
        using var scratch = new Scratch();
        Tool.Run("qemu-img", "create", "-q", "-f", "qcow2", scratch["base.vmdk"], "16K");
        File.WriteAllBytes(scratch["leaf.vmdk"], Delta("leaf.vmdk", 1, 2, "base.vmdk"));
        Assert.NotEmpty(HostileScan.Folder(scratch).Gaps);
    }
}
