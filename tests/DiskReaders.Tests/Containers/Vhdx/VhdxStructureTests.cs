using System.Diagnostics;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>Headers, region tables, metadata and BAT: what must be refused, and what damage must be survived.</summary>
public sealed class VhdxStructureTests
{
    private const int Megabyte = 1 << 20;
    private const int FirstRegion = 16;
    private const int SecondRegion = 48;
    private const int MetadataAt = VhdxWriter.MetadataAt;
    private const int Items = VhdxWriter.ItemsAt;

    /// <summary>Row: what, where, the bytes put there, the fault.</summary>
    public static TheoryData<string, int, byte[], Fault> Hostile => new()
    {
        { "file signature", 0, [0], Fault.Corrupt },
        { "region entry count over 2047", Region(0, 8), U32(2048), Fault.Corrupt },
        { "region count 0: no BAT", Region(0, 8), U32(0), Fault.Corrupt },
        { "region offset no multiple of 1 MB", Region(FirstRegion, 16), U32((3 * Megabyte) + 4096), Fault.Corrupt },
        { "region in the header section", Region(FirstRegion, 16), U32(0), Fault.Corrupt },
        { "region over the log", Region(FirstRegion, 16), U32(Megabyte), Fault.Corrupt },
        { "regions over each other", Region(FirstRegion, 16), U32(2 * Megabyte), Fault.Corrupt },
        { "region beyond the file", Region(FirstRegion, 20), U32(1), Fault.Truncated },
        { "region offset negative", Region(FirstRegion, 20), U32(0x8000_0000), Fault.Corrupt },
        { "region length 0", Region(FirstRegion, 24), U32(0), Fault.Corrupt },
        { "region longer than the file", Region(SecondRegion, 24), U32(0xFFF0_0000), Fault.Truncated },
        { "region length no multiple of 1 MB", Region(FirstRegion, 24), U32(Megabyte - 4096), Fault.Corrupt },
        { "required region unknown", Region(FirstRegion, 0), U32(1), Fault.Unsupported },
        { "metadata signature", MetadataAt, [0], Fault.Corrupt },
        { "metadata count over 2047", MetadataAt + 10, [0x00, 0x08], Fault.Corrupt },
        { "metadata item in the table", Entry(0, 16), U32(4096), Fault.Corrupt },
        { "metadata item beyond the region", Entry(0, 16), U32(Megabyte - 7), Fault.Corrupt },
        { "metadata item over 1 MB", Entry(0, 20), U32(Megabyte + 1), Fault.Corrupt },
        { "metadata item empty with an offset", Entry(0, 20), U32(0), Fault.Corrupt },
        { "metadata items over each other", Entry(1, 16), U32(65536 + 4), Fault.Corrupt },
        { "required metadata item unknown", Entry(0, 0), U32(1), Fault.Unsupported },
        { "known item as required user item", Entry(0, 24), U32(5), Fault.Unsupported },
        { "known item as user item only", Entry(0, 24), U32(1), Fault.Corrupt },
        { "file parameters of another length", Entry(0, 20), U32(7), Fault.Corrupt },
        { "block size 0", Items, U32(0), Fault.Corrupt },
        { "block size under 1 MB", Items, U32(Megabyte / 2), Fault.Corrupt },
        { "block size over 256 MB", Items, U32(512 * Megabyte), Fault.Corrupt },
        { "block size no power of two", Items, U32(3 * Megabyte), Fault.Corrupt },
        { "HasParent without a locator", Items + 4, [2], Fault.Corrupt },
        { "disk size 0", Items + 8, [0, 0, 0, 0, 0, 0, 0, 0], Fault.Corrupt },
        { "disk size no multiple of a sector", Items + 8, [1], Fault.Corrupt },
        { "disk size over 64 TB", Items + 8, [0, 2, 0, 0, 0, 0x40, 0, 0], Fault.Corrupt },
        { "disk size negative", Items + 15, [0x80], Fault.Corrupt },
        { "disk of 64 TB: BAT too small", Items + 8, [0, 0, 0, 0, 0, 0x40, 0, 0], Fault.Corrupt },
        { "sector size 1024", Items + 32, U32(1024), Fault.Corrupt },
        { "physical sector size 0", Items + 36, U32(0), Fault.Corrupt },
        { "payload state reserved (4)", VhdxWriter.BatAt, [4], Fault.Corrupt },
        { "payload state reserved (5)", VhdxWriter.BatAt, [5], Fault.Corrupt },
        { "partially present without a parent", VhdxWriter.BatAt, [7], Fault.Corrupt },
        { "payload at 0", VhdxWriter.BatAt, [6, 0, 0, 0], Fault.Corrupt },
        { "payload over the log", VhdxWriter.BatAt, [6, 0, 0x10, 0], Fault.Corrupt },
        { "payload over the metadata", VhdxWriter.BatAt, [6, 0, 0x20, 0], Fault.Corrupt },
        { "payload beyond the file", VhdxWriter.BatAt, [6, 0, 0, 1], Fault.Truncated },
        { "payload beyond every file", VhdxWriter.BatAt + 7, [0xFF], Fault.Truncated },
    };

    /// <summary>The same in both headers, whose checksums are mended.</summary>
    public static TheoryData<string, int, byte[], Fault> HostileHeaders => new()
    {
        { "Version", 66, [2], Fault.Unsupported },
        { "LogLength no multiple of 1 MB", 68, U32(4096), Fault.Corrupt },
        { "LogLength beyond the file", 68, U32(0xFFF0_0000), Fault.Truncated },
        { "LogLength 0 with a log", 48, [1, .. new byte[15], 0, 0, 1, 0, 0, 0, 0, 0], Fault.Corrupt },
        { "LogOffset in the header section", 72, U32(0), Fault.Corrupt },
        { "LogOffset no multiple of 1 MB", 72, U32(Megabyte + 512), Fault.Corrupt },
        { "LogOffset negative", 76, U32(0x8000_0000), Fault.Corrupt },
        { "the same SequenceNumber in different headers", 8, [7, 0, 0, 0, 0, 0, 0, 0], Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_hostile_field_is_refused(string what, int at, byte[] bytes, Fault fault)
    {
        byte[] image = Image();
        bytes.CopyTo(image, at);
        VhdxWriter.Repair(image);
        Assert.True(fault == Vhdx.Fault(image).Fault, what);
    }

    [Theory]
    [MemberData(nameof(HostileHeaders))]
    public void A_hostile_header_is_refused(string what, int at, byte[] bytes, Fault fault)
    {
        byte[] image = Image();
        bytes.CopyTo(image, VhdxWriter.HeaderAt + at);
        bytes.CopyTo(image, VhdxWriter.SecondHeaderAt + at);
        image[VhdxWriter.HeaderAt + 100] ^= 1;
        VhdxWriter.Repair(image);
        Assert.True(fault == Vhdx.Fault(image).Fault, what);
    }

    [Fact]
    public void The_same_region_twice_is_corrupt()
    {
        byte[] image = Image();
        image.AsSpan(VhdxWriter.RegionsAt + FirstRegion, 16).CopyTo(image.AsSpan(VhdxWriter.RegionsAt + SecondRegion));
        VhdxWriter.Repair(image);
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(image).Fault);
    }

    [Fact]
    public void The_same_metadata_item_twice_is_corrupt()
    {
        byte[] image = Image();
        image.AsSpan(Entry(0, 0), 16).CopyTo(image.AsSpan(Entry(2, 0)));
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(image).Fault);
    }

    [Fact]
    public void A_region_or_item_that_is_unknown_and_not_required_is_passed_over()
    {
        byte[] image = new VhdxWriter().Block(0, 6, new byte[Megabyte]).Block(1, 6, VhdxWriter.Noise(1, Megabyte)).Build();
        byte[] expected = Vhdx.Read(image);
        foreach (int at in (int[])[VhdxWriter.RegionsAt, VhdxWriter.SecondRegionsAt])
        {
            VhdxWriter.U32(image.AsSpan(at), 8, 3);
            VhdxWriter.U32(image.AsSpan(at + 80), 0, 77);
            VhdxWriter.U32(image.AsSpan(at + 80), 16, 4 * Megabyte);
            VhdxWriter.U32(image.AsSpan(at + 80), 24, Megabyte);
        }

        image[VhdxWriter.BatAt] = 2;
        VhdxWriter.U32(image.AsSpan(Entry(2, 24)), 0, 0);
        image[Entry(2, 0)] ^= 1;
        VhdxWriter.Repair(image);
        Assert.Equal(expected, Vhdx.Read(image));
    }

    [Fact]
    public void Every_truncation_is_a_fault_or_the_bytes_that_are_left()
    {
        byte[] image = Image();
        byte[] expected = Vhdx.Read(image);
        for (int length = 0; length < image.Length; length += 65_521)
        {
            byte[] cut = image[..length];
            Fault fault = Vhdx.Fault(cut).Fault;
            Assert.True(fault is Fault.Truncated || length < 8, $"{fault} at {length}");
        }

        using VirtualDisk disk = Vhdx.Open(image[..^100], Vhdx.Context());
        byte[] rest = new byte[Megabyte - 100];
        disk.Content.Read(2 * Megabyte, rest);
        Assert.Equal(expected[(2 * Megabyte)..^100], rest);
    }

    [Theory]
    [InlineData(1, 2, true)]
    [InlineData(2, 1, false)]
    [InlineData(ulong.MaxValue, 3, false)]
    public void The_header_with_the_higher_sequence_number_is_the_current_one(ulong first, ulong second, bool secondIsCurrent)
    {
        (byte[] image, Guid a, Guid b) = TwoIdentities(first, second);
        VhdxWriter.Repair(image);
        using VirtualDisk disk = Vhdx.Open(image, Vhdx.Context());
        Assert.Equal((secondIsCurrent ? b : a).ToString("D"), disk.Identity);
    }

    [Theory]
    [InlineData(VhdxWriter.HeaderAt)]
    [InlineData(VhdxWriter.SecondHeaderAt)]
    public void A_damaged_header_leaves_the_other(int damagedAt)
    {
        (byte[] image, Guid a, Guid b) = TwoIdentities(5, 5 + (damagedAt == VhdxWriter.HeaderAt ? 0UL : 1));
        VhdxWriter.Repair(image);
        image[damagedAt + 200] ^= 1;
        using VirtualDisk disk = Vhdx.Open(image, Vhdx.Context());
        Assert.Equal((damagedAt == VhdxWriter.HeaderAt ? b : a).ToString("D"), disk.Identity);
    }

    [Fact]
    public void Two_damaged_headers_are_corrupt()
    {
        byte[] image = Image();
        image[VhdxWriter.HeaderAt + 200] ^= 1;
        image[VhdxWriter.SecondHeaderAt + 200] ^= 1;
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(image).Fault);
    }

    [Fact]
    public void A_damaged_first_region_table_is_reported_and_the_second_is_used()
    {
        byte[] image = Image();
        byte[] expected = Vhdx.Read(image);
        image[VhdxWriter.RegionsAt + FirstRegion] ^= 1;
        ReadContext context = Vhdx.Context();
        using (VirtualDisk disk = Vhdx.Open(image, context))
        {
            Assert.Equal(expected, disk.Content.ReadAll());
        }

        CoverageGap gap = Assert.Single(((GapList)context.Gaps).ToList());
        Assert.Equal((Fault.Corrupt, "leaf.vhdx", (long)VhdxWriter.RegionsAt), (gap.Fault, gap.Path, gap.Offset));
        image[VhdxWriter.SecondRegionsAt + FirstRegion] ^= 1;
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(image).Fault);
    }

    [Fact]
    public void A_disk_of_4096_byte_sectors_says_so()
    {
        using VirtualDisk disk = Vhdx.Open(new VhdxWriter { SectorBytes = 4096 }.Build(), Vhdx.Context());
        Assert.Equal(4096, disk.SectorBytes);
    }

    [Fact]
    public void A_fixed_disk_says_so()
    {
        using VirtualDisk disk = Vhdx.Open(new VhdxWriter { LeaveBlocksAllocated = true }.Build(), Vhdx.Context());
        Assert.Equal("vhdx/fixed", disk.Format);
    }

    [Fact]
    public void A_disk_of_64_TB_opens_at_once_in_little_memory()
    {
        using var scratch = new Scratch();
        byte[] small = new VhdxWriter { DiskBytes = 64L << 40, BatMegabytes = 513 }.BuildHead();
        using (FileStream file = File.Create(scratch["d.vhdx"]))
        {
            file.Write(small);
            file.SetLength(700L * Megabyte);
        }

        using var source = new FileSource(scratch["d.vhdx"]);
        ReadContext context = Vhdx.Context();
        long started = Stopwatch.GetTimestamp();
        using (VirtualDisk disk = Vhdx.Open(source, context))
        {
            byte[] buffer = new byte[4096];
            for (long at = 0; at < disk.Content.Length; at += 1L << 36)
            {
                disk.Content.Read(at, buffer);
            }

            Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(10), "too slow");
            Assert.True(context.Budget.InUse < 8 << 20, "too much memory");

            // All of it as a walker sees it: no stored byte in 64 Mi blocks.
            for (long at = 0; at < 1L << 40;)
            {
                StoredExtent extent = disk.Content.Locate(at, disk.Content.Length - at);
                Assert.False(extent.IsStored);
                at += extent.Length;
            }
        }

        Assert.Equal(0, context.Budget.InUse);
    }

    [Fact]
    public void What_is_no_vhdx_is_not_recognised()
    {
        var format = new VhdxFormat();
        Assert.True(format.Probe(new ImageFile("a", 0, new MemorySource(Image()))));
        Assert.False(format.Probe(new ImageFile("a", 0, new MemorySource("vhdxfil"u8.ToArray()))));
        Assert.False(format.Probe(new ImageFile("a", 0, new MemorySource(new byte[4096]))));
        Assert.False(format.Probe(new ImageFile("a", 0, new MemorySource(Array.Empty<byte>()))));
    }

    private static byte[] Image() =>
        new VhdxWriter().Block(0, 6, VhdxWriter.Noise(1, Megabyte)).Block(2, 6, VhdxWriter.Noise(2, Megabyte)).Build();

    private static (byte[] Image, Guid First, Guid Second) TwoIdentities(ulong first, ulong second)
    {
        byte[] image = Image();
        var a = Guid.NewGuid();
        var b = Guid.NewGuid();
        a.TryWriteBytes(image.AsSpan(VhdxWriter.HeaderAt + 32));
        b.TryWriteBytes(image.AsSpan(VhdxWriter.SecondHeaderAt + 32));
        VhdxWriter.U64(image, VhdxWriter.HeaderAt + 8, first);
        VhdxWriter.U64(image, VhdxWriter.SecondHeaderAt + 8, second);
        return (image, a, b);
    }

    /// <summary>In the first table: it is the one that is read.</summary>
    private static int Region(int entry, int field) => VhdxWriter.RegionsAt + entry + field;

    private static int Entry(int index, int field) => MetadataAt + 32 + (index * 32) + field;

    private static byte[] U32(long value) => BitConverter.GetBytes((uint)value);
}
