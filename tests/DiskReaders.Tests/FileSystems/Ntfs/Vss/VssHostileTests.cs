using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;

/// <summary>One malice each, on a volume with two shadow copies.</summary>
public sealed class VssHostileTests
{
    private const int Block = VssImage.Block;
    private const int Catalog = 2 * Block;

    [Fact]
    public void The_sound_volume_has_two_and_no_gap()
    {
        Assert.Equal(2, ShadowCopyTests.List(VssReading.Sound(), out IReadOnlyList<CoverageGap> gaps).Count);
        Assert.Empty(gaps);
    }

    [Theory]
    [InlineData(0x1E00 + 48, 1L << 62, 0)]
    [InlineData(0x1E00 + 48, -1L, 0)]
    [InlineData(0x1E00 + 48, 3L * Block, 0)]
    [InlineData(0x1E00 + 24, 0L, 0)]
    [InlineData(Catalog + 40, (long)Catalog, 2)]
    [InlineData(Catalog + 40, 1L << 50, 2)]
    [InlineData(Catalog + 32, 0L, 0)]
    [InlineData(Catalog + 128, 7L, 1)]
    [InlineData(Catalog + 128, 1L, 1)]
    [InlineData(Catalog + 256, 1L, 1)]
    [InlineData(Catalog + 128 + 48, -1L, 1)]
    [InlineData(Catalog + 128 + 384, 1L, 1)]
    public void A_damaged_catalog_is_a_gap_and_what_is_whole_is_listed(int at, long value, int listed)
    {
        VssImage image = VssReading.Everything().Set64(at, value);
        Assert.Equal(listed, ShadowCopyTests.List(image.Bytes, out IReadOnlyList<CoverageGap> gaps).Count);
        Assert.NotEmpty(gaps);
    }

    [Fact]
    public void A_block_list_that_comes_back_to_itself_is_refused() =>
        Refused(image => image.Set64(image.Stores[0].ListAt + 40, image.Stores[0].ListAt), Fault.Corrupt);

    [Fact]
    public void A_block_list_that_leads_out_of_the_volume_is_refused() =>
        Refused(image => image.Set64(image.Stores[0].ListAt + 40, 1L << 60), Fault.Truncated);

    [Fact]
    public void A_block_list_that_leads_to_another_structure_is_refused() =>
        Refused(image => image.Set64(image.Stores[0].ListAt + 40, image.Stores[0].BitmapAt), Fault.Corrupt);

    [Fact]
    public void A_newer_store_that_is_damaged_takes_the_older_copy_with_it() =>
        Refused(image => image.Set64(image.Stores[1].ListAt + 40, image.Stores[1].ListAt), Fault.Corrupt);

    [Theory]
    [InlineData(0, 1)]
    [InlineData(0, 1L << 60)]
    [InlineData(0, -1)]
    [InlineData(16, 1L << 60)]
    [InlineData(16, (48 * Block) - 1)]
    [InlineData(8, -1)]
    public void A_descriptor_outside_the_volume_or_between_blocks_is_refused(int field, long value) =>
        Refused(image => image.Set64(image.Stores[0].ListAt + 128 + field, value), Fault.Corrupt);

    [Theory]
    [InlineData(1)]
    [InlineData(1L << 60)]
    public void A_forwarder_that_leads_nowhere_is_refused(long value) =>
        Refused(image => image.Set64(image.Stores[0].ListAt + 128 + 64 + 8, value), Fault.Corrupt);

    [Fact]
    public void A_bitmap_that_comes_back_to_itself_is_refused()
    {
        // A volume of 4 GiB needs more than one block of bits, and each of these names itself as the next.
        VssImage image = VssReading.Everything();
        image.Set64(image.Stores[1].BitmapAt + 40, image.Stores[1].BitmapAt);
        using var large = new LargeVolume(image.Bytes, 4L << 30);
        var budget = new ScanBudget(64 << 20);
        image.Set64(Catalog + 128 + 256 + 8, large.Length);
        Assert.Equal(Fault.Corrupt, Assert.Throws<DiskFormatException>(() => ShadowCopies.Open(large, VssImage.IdOf(2), new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(49L * Block)]
    [InlineData(long.MaxValue)]
    public void A_volume_size_that_cannot_be_is_said_and_the_volumes_own_is_taken(long size)
    {
        VssImage image = VssReading.Everything().Set64(Catalog + 128 + 8, size);
        var gaps = new GapList();
        using var source = new MemorySource(image.Bytes);
        using IBlockSource copy = ShadowCopies.Open(source, VssImage.IdOf(1), new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Equal(image.Bytes.Length, copy.Length);
        Assert.Single(gaps.ToList());
    }

    [Fact]
    public void Two_shadow_copies_of_one_name_stay_apart()
    {
        VssImage image = VssReading.Everything();
        VssImage.IdOf(1).TryWriteBytes(image.Bytes.AsSpan(image.Stores[1].HeaderAt + 128 + 16));
        IReadOnlyList<VolumeSnapshot> snapshots = ShadowCopyTests.List(image.Bytes, out IReadOnlyList<CoverageGap> gaps);
        Assert.Equal([VssImage.IdOf(1), VssImage.IdOf(102)], snapshots.Select(s => s.Id));
        Assert.Single(gaps);
        Assert.NotEqual(ShadowCopyTests.Read(image.Bytes, snapshots[0].Id), ShadowCopyTests.Read(image.Bytes, snapshots[1].Id));
    }

    [Fact]
    public void Memory_is_bounded_and_returned()
    {
        using var source = new MemorySource(VssReading.Sound());
        var budget = new ScanBudget(40 << 10);
        Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => ShadowCopies.Open(source, VssImage.IdOf(1), new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_damaged_volume_gives_data_or_a_fault()
    {
        VssImage image = VssReading.Everything();
        Mutations.Check(image.Bytes, VssReading.ReadAll, image.Regions, budgetBytes: 16 << 20);
    }

    private static void Refused(Action<VssImage> damage, Fault fault)
    {
        VssImage image = VssReading.Everything();
        damage(image);
        using var source = new MemorySource(image.Bytes);
        var budget = new ScanBudget(64 << 20);
        Assert.Equal(2, ShadowCopyTests.List(image.Bytes, out _).Count);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => ShadowCopies.Open(source, VssImage.IdOf(1), new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    /// <summary>A volume of which only the beginning is stored.</summary>
    private sealed class LargeVolume(byte[] head, long length) : IBlockSource
    {
        public long Length { get; } = length;

        public void Read(long offset, Span<byte> destination)
        {
            destination.Clear();
            if (offset < head.Length)
            {
                int count = (int)Math.Min(destination.Length, head.Length - offset);
                head.AsSpan((int)offset, count).CopyTo(destination);
            }
        }

        public StoredExtent Locate(long offset, long count) => new(ExtentKind.Data, count);

        public void Dispose()
        {
        }
    }
}
