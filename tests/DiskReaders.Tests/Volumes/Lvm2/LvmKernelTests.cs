using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>Volumes that a Linux kernel made, against what its own devices read.</summary>
public sealed class LvmKernelTests
{
    [Theory]
    [InlineData("plain")]
    [InlineData("raid")]
    [InlineData("thin")]
    [InlineData("cow")]
    [InlineData("cache")]
    [InlineData("integrity")]
    public void Every_volume_equals_the_kernels_device(string group)
    {
        using Assembled assembled = LvmImages.Assemble(LvmImages.Disks(group));
        Compare(group, assembled, LvmImages.Sums(group));
    }

    [Fact]
    public void All_groups_together_are_told_apart_whatever_the_order_of_their_disks()
    {
        byte[][] disks = [.. "plain raid thin cow cache integrity".Split(' ').SelectMany(LvmImages.Disks).Reverse()];
        using Assembled assembled = LvmImages.Assemble(disks);
        foreach (IGrouping<string, AssembledVolume> group in assembled.All.Volumes.Where(v => v.Name.Length > 0).GroupBy(v => v.Name.Split('/')[0]))
        {
            Assert.Equal(group.Select(v => v.Name), group.Select(v => v.Name).Order(StringComparer.Ordinal));
            Assert.Single(group.Select(v => v.Place).Distinct());
            foreach ((string name, (long bytes, string sha256)) in LvmImages.Sums(group.Key))
            {
                Assert.Equal((name, bytes, sha256), (name, assembled[name].Content!.Length, assembled[name].Content!.Sha256()));
            }
        }
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Volumes_made_now_equal_the_devices_of_the_kernel_that_made_them()
    {
        foreach (string program in (string[])["lvm", "busybox", "cpio", "qemu-system-x86_64", "thin_check", "xz"])
        {
            _ = Tool.Find(program);
        }

        using var scratch = new Scratch();
        Tool.Run(Path.Combine(LvmImages.Folder, "recipe.sh"), scratch.Folder);
        foreach (string group in (string[])["plain", "raid", "thin", "cow", "cache", "integrity"])
        {
            byte[][] disks = [.. Directory.GetFiles(scratch.Folder, group + ".?").Order(StringComparer.Ordinal).Select(File.ReadAllBytes)];
            using Assembled assembled = LvmImages.Assemble(disks);
            Compare(group, assembled, LvmImages.Sums(group, scratch["sums.tsv"]));
        }
    }

    private static void Compare(string group, Assembled assembled, IReadOnlyDictionary<string, (long Bytes, string Sha256)> sums)
    {
        Assert.Equal(
            sums.Select(s => $"{s.Key} {s.Value.Bytes} {s.Value.Sha256}").Order(StringComparer.Ordinal),
            assembled.All.Volumes.Where(v => v.Name.StartsWith(group + "/", StringComparison.Ordinal))
                .Select(v => $"{v.Name} {v.Content?.Length} {v.Content?.Sha256() ?? v.Fault!.Message}").Order(StringComparer.Ordinal));
        Assert.All(assembled.Gaps, g => Assert.Equal("dm-integrity journal", g.Structure));
        Assert.Equal(group == "integrity" ? ["integrity/journal_rimage_0", "integrity/journal_rimage_1"] : [], assembled.Gaps.Select(g => g.Path).Order(StringComparer.Ordinal));
        Assert.All(assembled.All.Volumes.Where(v => v.Name != "cow/back"), v => Assert.Empty(v.Notes));
        RequireAllNamed(assembled);
    }

    /// <summary>Leftovers lie inside their member, in order and apart.</summary>
    private static void RequireAllNamed(Assembled assembled)
    {
        foreach (IGrouping<int, MemberArea> areas in assembled.All.Leftovers.GroupBy(a => a.Member))
        {
            long at = 0;
            foreach (MemberArea area in areas)
            {
                Assert.True(area.OffsetBytes >= at && area.SizeBytes > 0, $"{area} at {at}");
                at = area.OffsetBytes + area.SizeBytes;
            }

            Assert.True(at <= assembled.Members[areas.Key].Content.Length);
        }
    }
}
