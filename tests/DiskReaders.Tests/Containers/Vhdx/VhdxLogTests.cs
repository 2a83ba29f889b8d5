using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>The log: what is replayed, what is refused, and that nothing else differs from qemu-img's own replay.</summary>
public sealed class VhdxLogTests
{
    private const int Bat = VhdxWriter.BatAt;

    [Fact]
    public void A_log_without_a_valid_entry_is_corrupt() =>
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(Dirty(image => image[VhdxWriter.LogAt + 100] ^= 1, repair: false)).Fault);

    [Fact]
    public void A_log_guid_without_any_entry_is_corrupt() =>
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(Dirty(image => image.AsSpan(VhdxWriter.LogAt, 4096).Clear())).Fault);

    [Fact]
    public void A_file_shorter_than_its_log_says_is_truncated()
    {
        byte[] image = TwoBlocks().Log(0, 5, 0, [(Bat, NewBat(0, 1), 0)], flushed: 7 << 20).Build();
        DiskFormatException fault = Vhdx.Fault(image);
        Assert.Equal(Fault.Truncated, fault.Fault);
        Assert.Contains("FlushedFileOffset", fault.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("signature", 0)]
    [InlineData("EntryLength", 8)]
    [InlineData("Tail not a multiple of 4096", 12)]
    [InlineData("SequenceNumber", 16)]
    [InlineData("DescriptorCount", 27)]
    [InlineData("LogGuid", 40)]
    [InlineData("descriptor signature", 64)]
    [InlineData("descriptor FileOffset", 64 + 16)]
    [InlineData("descriptor SequenceNumber", 64 + 24)]
    [InlineData("data sector signature", 4096)]
    [InlineData("SequenceHigh", 4096 + 4)]
    [InlineData("SequenceLow", 4096 + 4092)]
    public void An_entry_whose_field_is_wrong_is_no_entry_though_its_checksum_is_right(string field, int at)
    {
        DiskFormatException fault = Vhdx.Fault(Dirty(image => image[VhdxWriter.LogAt + at] ^= 1));
        Assert.True(fault.Fault == Fault.Corrupt, field);
        Assert.Equal("VHDX Log", fault.Structure);
    }

    [Fact]
    public void A_log_of_another_version_is_unsupported() =>
        Assert.Equal(Fault.Unsupported, Vhdx.Fault(Dirty(image => image[VhdxWriter.HeaderAt + 64] = image[VhdxWriter.SecondHeaderAt + 64] = 1)).Fault);

    [Fact]
    public void A_write_far_beyond_every_file_is_a_limit() =>
        Assert.Equal(Fault.Limit, Vhdx.Fault(TwoBlocks().Log(0, 1, 0, [(1L << 62, new byte[4096], 0)]).Build()).Fault);

    [Theory]
    [InlineData(0, 1)]
    [InlineData(250, 1)]
    [InlineData(255, 1)]
    [InlineData(0, 130)]
    [InlineData(200, 130)]
    public void Entries_wrap_around_the_ring_and_fill_more_than_one_descriptor_sector(int sector, int repeats)
    {
        (long, byte[]?, long)[] writes = [.. Enumerable.Range(0, repeats).Select(i => ((long)Bat, (byte[]?)null, 4096L)), (Bat, NewBat(1, 0), 0)];
        byte[] image = TwoBlocks().Log(sector, 9, sector, writes).Build();

        // qemu-img 7.2 refuses every entry of more than one descriptor sector.
        AssertReplayed(image, [.. Block(1), .. Block(0)], asQemu: repeats == 1);
    }

    [Fact]
    public void Entries_are_replayed_in_order_from_the_tail_on_and_older_ones_are_not()
    {
        byte[] image = TwoBlocks()
            .Log(0, 20, 0, [(Bat, NewBat(0, 0), 0)])
            .Log(2, 21, 2, [(Bat, NewBat(1, 1), 0)])
            .Log(4, 22, 2, [(Bat, null, 4096)])
            .Log(5, 23, 2, [(Bat, NewBat(1, 0), 0)])
            .Build();
        AssertReplayed(image, [.. Block(1), .. Block(0)]);
    }

    [Fact]
    public void The_sequence_with_the_highest_head_wins()
    {
        byte[] image = TwoBlocks()
            .Log(0, 100, 0, [(Bat, NewBat(1, 1), 0)])
            .Log(10, 300, 10, [(Bat, NewBat(1, 0), 0)])
            .Log(20, 200, 20, [(Bat, NewBat(0, 0), 0)])
            .Build();
        AssertReplayed(image, [.. Block(1), .. Block(0)]);
    }

    [Fact]
    public void A_sequence_that_lost_its_tail_is_passed_over()
    {
        byte[] image = TwoBlocks()
            .Log(0, 100, 0, [(Bat, NewBat(1, 0), 0)])
            .Log(10, 300, 30, [(Bat, NewBat(0, 0), 0)])
            .Build();

        // qemu-img 7.2 takes it: it does not ask where the tail is.
        AssertReplayed(image, [.. Block(1), .. Block(0)], asQemu: false);
    }

    [Fact]
    public void A_later_entry_of_a_torn_sequence_is_left_out()
    {
        byte[] image = TwoBlocks()
            .Log(0, 7, 0, [(Bat, NewBat(1, 0), 0)])
            .Log(2, 8, 0, [(Bat, NewBat(0, 0), 0)])
            .Build();
        image[VhdxWriter.LogAt + (3 * 4096) + 2000] ^= 1;
        AssertReplayed(image, [.. Block(1), .. Block(0)]);
    }

    [Fact]
    public void The_file_grows_to_LastFileOffset()
    {
        byte[] moved = NewBat(0, 1);
        VhdxWriter.U64(moved, 8, (8UL << 20) | 6);
        byte[] image = TwoBlocks().Log(0, 1, 0, [(Bat, moved, 0), (8 << 20, VhdxWriter.Noise(9, 4096), 0)], last: 9 << 20).Build();
        byte[] second = new byte[1 << 20];
        VhdxWriter.Noise(9, 4096).CopyTo(second, 0);

        // qemu-img 7.2 grows the file only where LastFileOffset is no multiple of 1 MB.
        AssertReplayed(image, [.. Block(0), .. second], asQemu: false);
    }

    [Fact]
    public void Metadata_and_region_tables_are_read_as_replayed()
    {
        VhdxWriter writer = TwoBlocks();
        byte[] clean = writer.Build();
        byte[] items = clean[VhdxWriter.ItemsAt..(VhdxWriter.ItemsAt + 4096)];
        byte[] image = writer.Log(0, 1, 0, [(VhdxWriter.ItemsAt, items, 0)]).Build();
        image.AsSpan(VhdxWriter.ItemsAt, 4096).Fill(0xEE);
        AssertReplayed(image, [.. Block(0), .. Block(1)]);
    }

    [Fact]
    public void Every_slicing_of_the_replayed_file_equals_writing_it_out()
    {
        var random = new Random(5);
        for (int round = 0; round < 200; round++)
        {
            byte[] file = VhdxWriter.Noise(round, 40_000);
            byte[] expected = new byte[90_000];
            file.CopyTo(expected, 0);
            var budget = new ScanBudget(1 << 20);
            RentedBuffer data = budget.Rent(20 * 4096);
            List<ReplayedWrite> writes = [];
            int count = random.Next(16);
            for (int i = 0; i < count; i++)
            {
                int offset = random.Next(20) * 4096;
                bool zeros = random.Next(2) == 0;
                int length = zeros ? random.Next(1, 4) * 4096 : 4096;
                length = Math.Min(length, expected.Length - offset);
                byte[] bytes = zeros ? new byte[length] : VhdxWriter.Noise(random.Next(), length);
                bytes.CopyTo(expected, offset);
                if (!zeros)
                {
                    bytes.CopyTo(data.Span[(i * 4096)..]);
                }

                writes.Add(new ReplayedWrite(offset, length, zeros ? ReplayedWrite.Zeros : i * 4096));
            }

            using (var source = new ReplayedSource(new MemorySource(file), expected.Length, writes, data))
            {
                Assert.Equal(expected, source.ReadAll());
                byte[] pieces = new byte[expected.Length];
                for (int at = 0; at < pieces.Length;)
                {
                    int step = Math.Min(random.Next(1, 9000), pieces.Length - at);
                    source.Read(at, pieces.AsSpan(at, step));
                    Assert.InRange(source.Locate(at, step).Length, 1, step);
                    at += step;
                }

                Assert.Equal(expected, pieces);
            }

            Assert.Equal(0, budget.InUse);
        }
    }

    private static byte[] Block(int number) => VhdxWriter.Noise(number + 1, 1 << 20);

    private static VhdxWriter TwoBlocks() => new VhdxWriter { DiskBytes = 2 << 20 }.Block(0, 6, Block(0)).Block(1, 6, Block(1));

    /// <summary>A BAT sector that has the blocks of <see cref="TwoBlocks"/> in this order.</summary>
    private static byte[] NewBat(int first, int second)
    {
        byte[] bat = new byte[4096];
        VhdxWriter.U64(bat, 0, (ulong)((4 + first) << 20) | 6);
        VhdxWriter.U64(bat, 8, (ulong)((4 + second) << 20) | 6);
        return bat;
    }

    private static byte[] Dirty(Action<byte[]> damage, bool repair = true)
    {
        byte[] image = TwoBlocks().Log(0, 5, 0, [(Bat, NewBat(1, 0), 0)]).Build();
        damage(image);
        if (repair)
        {
            VhdxWriter.Repair(image);
        }

        return image;
    }

    private static void AssertReplayed(byte[] image, byte[] expected, bool asQemu = true)
    {
        byte[] content = Vhdx.Read(image);
        Assert.True(expected.AsSpan().SequenceEqual(content), "not what the log says");
        if (!asQemu)
        {
            return;
        }

        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["d.vhdx"], image);
        Tool.Shell("qemu-img check -q -f vhdx -r all d.vhdx; qemu-img convert -f vhdx -O raw d.vhdx d.raw", scratch.Folder);
        Assert.True(File.ReadAllBytes(scratch["d.raw"]).AsSpan().SequenceEqual(content), "not what qemu-img replays");
    }
}
