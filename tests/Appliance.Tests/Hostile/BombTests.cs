using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Tests.Containers;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>Little on disk that claims to be much. CVE-2015-5162, CVE-2013-4463.</summary>
public sealed class BombTests
{
    [Fact]
    public void Sparse_files_of_terabytes_end_quickly_and_what_is_stored_is_matched()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -b 4096 -O ^has_journal ext.raw 2M 2>/dev/null
            mkdir t; mount -o loop ext.raw t; trap 'umount t' EXIT
            for i in 1 2 3; do truncate -s 14T t/sparse$i; printf first | dd of=t/sparse$i conv=notrunc status=none; printf last | dd of=t/sparse$i bs=1 seek=13000000000000 conv=notrunc status=none; done
            printf plain > t/plain
            """, scratch.Folder);
        HostileImageTests.AssertQuick(() =>
        {
            ScanResult result = HostileScan.Folder(scratch);
            VolumeReport volume = Assert.Single(result.Report.Targets.Single(t => t.Target.EndsWith("ext.raw", StringComparison.Ordinal)).Disks[0].Volumes);
            Assert.True(volume.Bytes.Seen > 3L * 14 << 40);
            Assert.All((int[])[1, 2, 3], i => result.Gap("limit", $"v1/sparse{i}"));
            Assert.Equal(3, result.Status);
        });
    }

    [Fact]
    public void An_NTFS_sparse_file_of_terabytes_ends_quickly()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            truncate -s 3M ntfs.raw; PATH=$PATH:/usr/sbin:/sbin mkntfs -q -F -f ntfs.raw >/dev/null 2>&1
            mkdir mnt; ntfs-3g ntfs.raw mnt; trap 'umount mnt' EXIT
            truncate -s 8T mnt/sparse; printf last | dd of=mnt/sparse bs=1 seek=8000000000000 conv=notrunc status=none; printf plain > mnt/plain
            """, scratch.Folder);
        HostileImageTests.AssertQuick(() => HostileScan.Folder(scratch).Gap("limit", "v1/sparse"));
    }

    [Fact]
    public void Two_files_of_eight_exbibytes_do_not_overflow_the_sums()
    {
        Assert.Equal(long.MaxValue, Saturating.Add(long.MaxValue - 1, long.MaxValue - 1));
        Assert.Equal(long.MaxValue, ((long[])[long.MaxValue, long.MaxValue, 5]).Total(l => l));
        var coverage = new Coverage("v1");
        coverage.See(long.MaxValue);
        coverage.See(long.MaxValue);
        Assert.Equal(long.MaxValue, coverage.Counts.BytesSeen);
    }

    [Theory]
    [InlineData(100)]
    [InlineData((8 << 10) - 1)]
    [InlineData((8 << 10) + 1)]
    [InlineData(64 << 20)]
    public void A_grain_that_inflates_to_another_size_is_a_fault_and_never_kept(int bytes)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["s.vmdk"], VmdkImages.Stream(
            [Grain.Data(1), Grain.Data(2)], VmdkImages.Descriptor("streamOptimized", "RW 32 SPARSE \"s.vmdk\""), i => i == 1 ? new byte[bytes] : [.. Enumerable.Repeat((byte)7, 8 << 10)]));
        ScanResult result = HostileScan.Folder(scratch);
        Assert.Contains(result.Gaps, g => g.Fault is "corrupt" or "limit" or "truncated");
        Assert.Equal(3, result.Status);
    }

    [Fact]
    public void More_content_than_an_image_of_its_size_can_hold_is_a_gap()
    {
        var gaps = new GapList();
        using var buffers = new ContentBuffers(1 << 20);
        int seen = 0;
        var coverage = new Coverage("v1");
        ContentItem[] items = [.. Enumerable.Range(0, 10).Select(i => new AreaContent($"v1/{i}", new MemorySource(new byte[1000])) { Coverage = coverage, SizeBytes = 1000 })];
        new ContentPump(buffers, 1, HashNeeds.Sha256Only, gaps, mostBytes: 3500, mostZeros: 0, () => { }, TestContext.Current.CancellationToken)
            .Run(items, () => new Counting(() => seen++), windowsAreGaps: true);
        Assert.Equal((3, 7), (seen, gaps.Count));
        Assert.Equal(Fault.Limit, gaps.ToList()[0].Fault);
    }

    private sealed class Counting(Action onContent) : IContentConsumer
    {
        public void Consume(Pipeline.Content content)
        {
            content.Dispose();
            onContent();
        }

        public void Flush()
        {
        }

        public void Dispose()
        {
        }
    }
}
