using System.Text.RegularExpressions;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;

/// <summary>Shadow copies on volumes made here, byte by byte, against libvshadow's own reading of them.</summary>
public sealed partial class ShadowCopyTests
{
    private const int Block = VssImage.Block;

    [Fact]
    public void Each_shadow_copy_is_the_volume_as_it_was()
    {
        var image = new VssImage(128);
        var random = new Random(3);
        List<byte[]> states = [];
        for (int i = 0; i < 3; i++)
        {
            states.Add((byte[])image.Bytes.Clone());
            image.Snapshot();
            for (int w = 0; w < 8; w++)
            {
                image.Write(random.Next(5, 30), (byte)random.Next(256));
            }
        }

        IReadOnlyList<VolumeSnapshot> snapshots = List(image.Bytes, out IReadOnlyList<CoverageGap> gaps);
        Assert.Empty(gaps);
        Assert.Equal([VssImage.IdOf(1), VssImage.IdOf(2), VssImage.IdOf(3)], snapshots.Select(s => s.Id));
        Assert.All(snapshots, s => Assert.Equal(image.Bytes.Length, s.SizeBytes));
        Assert.Equal(DateTime.FromFileTimeUtc(VssImage.FirstTime + 600_000_000), snapshots[0].CreatedAt.UtcDateTime);
        for (int i = 0; i < 3; i++)
        {
            // What the stores themselves lie in was free then.
            Assert.Equal(states[i][(3 * Block)..(60 * Block)], Read(image.Bytes, snapshots[i].Id)[(3 * Block)..(60 * Block)]);
        }

        EqualsLibvshadow(image.Bytes);
    }

    [Fact]
    public void Overlays_forwarders_and_unused_blocks_equal_libvshadow()
    {
        var image = new VssImage(160);
        VssImage.Store oldest = image.Snapshot();
        image.Write(6, 0x11);

        // A block whose changed sectors alone were kept, before and after the whole block.
        image.Describe(oldest, 8 * Block, 0, image.Data(0xA1), 2, 0x0000_00F0);
        image.Describe(oldest, 9 * Block, 0, image.Data(0xA2), 2, 0x8000_0001);
        image.Describe(oldest, 9 * Block, 1, image.Data(0xA3), 2, 0x0000_0F00);
        image.Describe(oldest, 10 * Block, 0, image.Data(0xA4), 0, 0);
        image.Describe(oldest, 10 * Block, 0, image.Data(0xA5), 2, 0x00FF_0000);
        image.Describe(oldest, 11 * Block, 0, image.Data(0xA6), 2, 0x0000_000F);
        image.Describe(oldest, 11 * Block, 0, image.Data(0xA7), 0, 0);

        // Moved to another place of the volume, and from there on.
        image.Describe(oldest, 12 * Block, 20 * Block, 0, 1, 0);
        image.Describe(oldest, 13 * Block, 21 * Block, 0, 1, 0);
        image.Describe(oldest, 21 * Block, 22 * Block, 0, 1, 0);
        image.Describe(oldest, 14 * Block, 23 * Block, 0, 1, 0);
        image.Describe(oldest, 23 * Block, 0, image.Data(0xB1), 0, 0);
        image.Describe(oldest, 15 * Block, 0, image.Data(0xB2), 4, 0);
        image.Describe(oldest, 16 * Block, 0, image.Data(0xB3), 0, 0);
        image.Describe(oldest, 16 * Block, 0, image.Data(0xB4), 0, 0);

        VssImage.Store newest = image.Snapshot(withUnused: true);
        image.Write(20, 0x22);
        image.Write(22, 0x33);
        image.Write(6, 0x44);
        image.Describe(newest, 24 * Block, 0, image.Data(0xC1), 2, 0x0F0F_0F0F);
        image.Describe(newest, 8 * Block, 0, image.Data(0xC2), 2, 0x0000_FFFF);
        EqualsLibvshadow(image.Bytes);
    }

    [Fact]
    public void A_block_list_of_many_blocks_is_followed()
    {
        var image = new VssImage(4096);
        byte[] state = (byte[])image.Bytes.Clone();
        image.Snapshot();
        for (int i = 5; i < 1200; i++)
        {
            image.Write(i, (byte)i);
        }

        Assert.True(image.Stores[0].Descriptors > 2 * 508);
        Assert.Equal(state[(5 * Block)..(2000 * Block)], Read(image.Bytes, VssImage.IdOf(1))[(5 * Block)..(2000 * Block)]);
    }

    [Fact]
    public void A_volume_without_shadow_copies_has_none_and_no_gap()
    {
        Assert.Empty(List(new byte[1 << 20], out IReadOnlyList<CoverageGap> gaps));
        Assert.Empty(gaps);
        Assert.Empty(List(new byte[100], out _));

        // Switched on, and none made yet.
        Assert.Empty(List(new VssImage(16).Set64(0x1E00 + 48, 0).Bytes, out gaps));
        Assert.Empty(gaps);
    }

    [Fact]
    public void Any_slicing_of_reads_equals_one_read()
    {
        byte[] volume = VssReading.Sound();
        byte[] whole = Read(volume, VssImage.IdOf(1));
        using var source = new MemorySource(volume);
        var budget = new ScanBudget(64 << 20);
        using (IBlockSource copy = ShadowCopies.Open(source, VssImage.IdOf(1), new ReadContext(budget, new GapList())))
        {
            var random = new Random(9);
            for (int i = 0; i < 500; i++)
            {
                int at = random.Next(whole.Length);
                byte[] part = new byte[random.Next(Math.Min(50_000, whole.Length - at) + 1)];
                copy.Read(at, part);
                Assert.Equal(whole[at..(at + part.Length)], part);
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    internal static IReadOnlyList<VolumeSnapshot> List(byte[] volume, out IReadOnlyList<CoverageGap> gaps)
    {
        var budget = new ScanBudget(64 << 20);
        var list = new GapList();
        using var source = new MemorySource(volume);
        IReadOnlyList<VolumeSnapshot> snapshots = ShadowCopies.List(source, new ReadContext(budget, list));
        gaps = list.ToList();
        Assert.Equal(0, budget.InUse);
        return snapshots;
    }

    internal static byte[] Read(byte[] volume, Guid id)
    {
        var budget = new ScanBudget(64 << 20);
        using var source = new MemorySource(volume);
        byte[] bytes;
        using (IBlockSource copy = ShadowCopies.Open(source, id, new ReadContext(budget, new GapList())))
        {
            bytes = copy.ReadAll();
        }

        Assert.Equal(0, budget.InUse);
        return bytes;
    }

    /// <summary>vshadowinfo lists the same copies, and vshadowmount shows the same bytes.</summary>
    private static void EqualsLibvshadow(byte[] volume)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["volume"], volume);
        string info = Tool.Run("vshadowinfo", scratch["volume"]);
        IReadOnlyList<VolumeSnapshot> snapshots = List(volume, out _);
        Assert.Equal(snapshots.Select(s => s.Id.ToString()), CopyId().Matches(info).Select(m => m.Groups[1].Value));
        Directory.CreateDirectory(scratch["mnt"]);
        Tool.Find("vshadowmount");
        Tool.Shell("vshadowmount volume mnt", scratch.Folder);
        try
        {
            for (int i = 0; i < snapshots.Count; i++)
            {
                byte[] theirs = Tool.RunRaw("cat", scratch.Folder, $"mnt/vss{i + 1}");
                byte[] ours = Read(volume, snapshots[i].Id);
                Assert.Equal(theirs.Length, ours.Length);
                string[] different = [.. Enumerable.Range(0, ours.Length / 512)
                    .Where(s => !ours.AsSpan(s * 512, 512).SequenceEqual(theirs.AsSpan(s * 512, 512)))
                    .Select(s => $"{s / 32}.{s % 32}: {ours[s * 512]:X2} for {theirs[s * 512]:X2}")];
                Assert.True(different.Length == 0, $"vss{i + 1} differs at (block.sector): {string.Join(", ", different)}");
            }
        }
        finally
        {
            Tool.Run("umount", scratch["mnt"]);
        }
    }

    [GeneratedRegex(@"Shadow copy ID\s*:\s*([0-9a-f-]{36})")]
    private static partial Regex CopyId();
}
