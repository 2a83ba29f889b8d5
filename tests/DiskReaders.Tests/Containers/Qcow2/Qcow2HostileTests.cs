using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Qcow2;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Qcow2;

/// <summary>Images that lie.</summary>
public sealed class Qcow2HostileTests
{
    private const ulong Packed = 1UL << 62;
    private const uint BackingFormat = 0xE2792ACA;
    private const uint DataFile = 0x44415441;
    private const uint FeatureNames = 0x6803F857;

    [Theory]
    [InlineData(0, 0x51464900u, Fault.Corrupt, "magic")]
    [InlineData(4, 1u, Fault.Unsupported, "version 1")]
    [InlineData(4, 4u, Fault.Unsupported, "version 4")]
    [InlineData(16, 1024u, Fault.Corrupt, "backing_file_size")]
    [InlineData(16, 0xFFFF_FFFFu, Fault.Corrupt, "backing_file_size")]
    [InlineData(16, 1000u, Fault.Corrupt, "backing_file_offset")]
    [InlineData(20, 0u, Fault.Corrupt, "cluster_bits 0")]
    [InlineData(20, 8u, Fault.Corrupt, "cluster_bits 8")]
    [InlineData(20, 22u, Fault.Unsupported, "cluster_bits 22")]
    [InlineData(20, 63u, Fault.Unsupported, "cluster_bits 63")]
    [InlineData(20, 64u, Fault.Corrupt, "cluster_bits 64")]
    [InlineData(24, 0x8000_0000u, Fault.Corrupt, "size")]
    [InlineData(24, 0x7FFF_FFFFu, Fault.Corrupt, "l1_size")]
    [InlineData(24, 1u, Fault.Corrupt, "l1_size")]
    [InlineData(32, 1u, Fault.Encrypted, "AES")]
    [InlineData(32, 2u, Fault.Corrupt, "LUKS and names no header")]
    [InlineData(32, 3u, Fault.Unsupported, "crypt_method 3")]
    [InlineData(36, 0u, Fault.Corrupt, "l1_size")]
    [InlineData(36, 0x40_0001u, Fault.Limit, "l1_size")]
    [InlineData(36, 0xFFFF_FFFFu, Fault.Limit, "l1_size")]
    [InlineData(36, 0x40_0000u, Fault.Truncated, "33554432 bytes")]
    [InlineData(40, 0x8000_0000u, Fault.Corrupt, "l1_table_offset")]
    [InlineData(40, 0x7FFF_FFFFu, Fault.Truncated, "64 bytes")]
    [InlineData(44, 4097u, Fault.Corrupt, "l1_table_offset")]
    [InlineData(60, 65537u, Fault.Limit, "nb_snapshots")]
    [InlineData(60, 0xFFFF_FFFFu, Fault.Limit, "nb_snapshots")]
    [InlineData(60, 65536u, Fault.Truncated, "2621440 bytes")]
    [InlineData(76, 1u << 5, Fault.Unsupported, "bit 5")]
    [InlineData(72, 1u << 31, Fault.Unsupported, "bit 63")]
    [InlineData(76, 1u << 2, Fault.MissingParent, "external data file")]
    [InlineData(76, 1u << 3, Fault.Corrupt, "compression_type")]
    [InlineData(76, 1u << 4, Fault.Corrupt, "cluster_bits")]
    [InlineData(104, 1u << 24, Fault.Corrupt, "compression_type")]
    [InlineData(100, 0u, Fault.Corrupt, "header_length")]
    [InlineData(100, 96u, Fault.Corrupt, "header_length")]
    [InlineData(100, 105u, Fault.Corrupt, "header_length")]
    [InlineData(100, 520u, Fault.Corrupt, "header_length")]
    [InlineData(100, 0xFFFF_FFF8u, Fault.Corrupt, "header_length")]
    public void A_header_that_lies_is_refused(int at, uint value, Fault fault, string says)
    {
        byte[] image = Qcow2Writer.U32(new Qcow2Writer { Backing = "base" }.Extension(BackingFormat, "raw").Build(), at, value);
        var chain = new OneParent();
        DiskFormatException e = Assert.Throws<DiskFormatException>(() =>
            new Qcow2Format().Open(new ImageFile("d", 0, new MemorySource(image)), chain, new ReadContext(new ScanBudget(64 << 20), new GapList())).Dispose());
        Assert.Equal(fault, e.Fault);
        Assert.Contains(says, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Qcow2Writer.L2At + 1UL * 512 + 1, false, Fault.Corrupt)]
    [InlineData(0x00FF_FFFF_FFFF_FE00UL, false, Fault.Truncated)]
    [InlineData(0x7000_0000UL, false, Fault.Truncated)]
    [InlineData(Packed | 0x7FFF_FFFFUL, false, Fault.Truncated)]
    [InlineData(Packed | (Packed - 1), false, Fault.Truncated)]
    [InlineData(Packed | Qcow2Writer.L2At, false, Fault.Corrupt)]
    [InlineData(0x7FF0_0000UL, true, Fault.Truncated)]
    [InlineData(0x00FF_FFFF_FFFF_FE00UL, true, Fault.Truncated)]
    public void An_entry_that_lies_is_refused(ulong entry, bool inL1, Fault fault)
    {
        // The first row: a zero cluster in version 2.
        var writer = new Qcow2Writer { Version = fault == Fault.Corrupt && (entry & 1) == 1 ? 2 : 3 };
        byte[] image = writer.Entry(0, entry).Build();
        if (inL1)
        {
            Qcow2Writer.U64(image, Qcow2Writer.L1At, entry);
        }

        Assert.Equal(fault, Qcow2.Fails(("d", image)).Fault);
    }

    [Fact]
    public void Tables_and_clusters_must_be_aligned()
    {
        byte[] image = new Qcow2Writer(10) { Bytes = 4096 }.Entry(0, Qcow2Writer.DataAt + 512UL).Data(1, new byte[8192]).Build();
        Assert.Contains("not aligned", Qcow2.Fails(("d", image)).Detail, StringComparison.Ordinal);
        Qcow2Writer.U64(image, Qcow2Writer.L1At, Qcow2Writer.L2At);
        Assert.Contains("not aligned", Qcow2.Fails(("d", image)).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_test_writer_builds_is_read_and_tables_may_loop()
    {
        byte[] noise = Qcow2Writer.Noise(1);
        byte[] text = [.. Enumerable.Range(0, Qcow2Writer.Cluster).Select(i => (byte)(i / 50))];
        byte[] image = new Qcow2Writer().Data(0, noise).Entry(2, 1).Packed(3, text).Packed(4, noise).Entry(5, Qcow2Writer.L1At).Packed(7, text).Build();
        byte[] content = Qcow2.All(("d", image));
        Assert.Equal([.. noise, .. new byte[1024], .. text, .. noise, .. image.AsSpan(Qcow2Writer.L1At, 512), .. new byte[512], .. text], content);

        // An L1 table that is its own L2 table maps clusters to itself; each read stays one step long.
        Qcow2Writer.U64(image, Qcow2Writer.L1At, Qcow2Writer.L1At);
        Assert.Equal(image.AsSpan(Qcow2Writer.L1At, 512), Qcow2.All(("d", image)).AsSpan(0, 512));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void The_last_compressed_cluster_may_end_with_the_file(byte compression)
    {
        byte[] text = [.. Enumerable.Range(0, Qcow2Writer.Cluster).Select(i => (byte)(i / 50))];
        var writer = new Qcow2Writer { Bytes = 1024, Compression = compression, Features = compression == 0 ? 0UL : 8UL };
        byte[] image = writer.Packed(0, text).Packed(1, text).Build();
        Assert.NotEqual(0, image.Length % 512);
        Assert.Equal([.. text, .. text], Qcow2.All(("d", image)));
        Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", image[..^9])).Fault);
    }

    [Theory]
    [InlineData("json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", Fault.Refused)]
    [InlineData("nbd://127.0.0.1/x", Fault.Refused)]
    [InlineData("/etc/shadow", Fault.Refused)]
    [InlineData("../base", Fault.Refused)]
    [InlineData("absent", Fault.MissingParent)]
    [InlineData("d", Fault.Refused)]
    public void A_backing_file_is_opened_by_the_resolver_alone(string name, Fault fault)
    {
        byte[] image = new Qcow2Writer { Backing = name }.Build();
        Assert.Equal(fault, Qcow2.Fails(("d", image)).Fault);
        IReadOnlyList<ImageReference> references = new Qcow2Format().References(new ImageFile("d", 0, new MemorySource(image)));
        Assert.Equal(name.StartsWith("json:", StringComparison.Ordinal) ? [] : [name], references.SelectMany(r => r.Candidates));
    }

    [Fact]
    public void An_external_data_file_must_match_its_guest_offsets()
    {
        byte[] data = Qcow2Writer.Noise(3, 4096);
        byte[] image = new Qcow2Writer { Features = 4 }.Extension(DataFile, "data").Entry(0, 1UL << 63).Entry(1, 512).Build();
        Assert.Equal([.. data.AsSpan(0, 1024), .. new byte[3072]], Qcow2.All(("d", image), ("data", data)));
        Assert.Equal(Fault.Truncated, Qcow2.Fails(("d", image), ("data", data[..700])).Fault);
        Assert.Equal(Fault.MissingParent, Qcow2.Fails(("d", image)).Fault);
        ImageReference reference = Assert.Single(new Qcow2Format().References(new ImageFile("d", 0, new MemorySource(image))));
        Assert.Equal((ReferenceKind.Extent, "data"), (reference.Kind, reference.Display));

        foreach (ulong entry in (ulong[])[1024, Packed | 512])
        {
            byte[] wrong = new Qcow2Writer { Features = 4 }.Extension(DataFile, "data").Entry(0, entry).Build();
            Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", wrong), ("data", data)).Fault);
        }
    }

    [Theory]
    [InlineData(0x0000_0001_0000_0001UL, true)]
    [InlineData(0x8000_0000_8000_0000UL, true)]
    [InlineData(0x0000_0000_0000_0001UL, false)]
    public void Subclusters_that_contradict_are_refused(ulong bitmap, bool allocated)
    {
        byte[] image = new Qcow2Writer(14) { Features = 16, Bytes = 16384 }.Build();
        byte[] large = new byte[16384 * 5];
        image.AsSpan(0, 512).CopyTo(large);
        Qcow2Writer.U64(large, 40, 16384);
        Qcow2Writer.U64(large, 16384, 32768);
        Qcow2Writer.U64(large, 32768, allocated ? 49152UL : 0);
        Qcow2Writer.U64(large, 32776, bitmap);
        Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", large)).Fault);
    }

    [Fact]
    public void Unknown_features_are_refused_by_the_name_the_image_gives()
    {
        byte[] names = new byte[96];
        names[1] = 40;
        "time travel"u8.CopyTo(names.AsSpan(2));
        byte[] image = new Qcow2Writer { Features = 1UL << 40 | 1UL << 41 }.Extension(FeatureNames, names).Build();
        DiskFormatException fault = Qcow2.Fails(("d", image));
        Assert.Equal(Fault.Unsupported, fault.Fault);
        Assert.Contains("\"time travel\" (bit 40), bit 41", fault.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_image_marked_corrupt_is_read_with_a_gap_and_a_dirty_one_without()
    {
        byte[] noise = Qcow2Writer.Noise(1);
        byte[] image = new Qcow2Writer { Features = 2, Bytes = 512 }.Data(0, noise).Build();
        CoverageGap gap = Assert.Single(Qcow2.InMemory([("d", image)], disk => Assert.Equal(noise, disk.Content.ReadAll())));
        Assert.Equal(Fault.Corrupt, gap.Fault);
        image[79] = 1;
        Assert.Empty(Qcow2.InMemory([("d", image)], disk => Assert.Equal(noise, disk.Content.ReadAll())));
    }

    [Fact]
    public void Names_that_are_no_names_are_refused()
    {
        byte[] image = new Qcow2Writer { Backing = "a\0b" }.Build();
        Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", image)).Fault);
        Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", new Qcow2Writer().Extension(BackingFormat, "0123456789abcdef").Build())).Fault);
        Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", new Qcow2Writer().Extension(BackingFormat, "raw").Extension(BackingFormat, "raw").Build())).Fault);
        Assert.Equal(Fault.Corrupt, Qcow2.Fails(("d", Qcow2Writer.U32(new Qcow2Writer().Extension(BackingFormat, "raw").Build(), 116, 0xFFFF_FFFF))).Fault);
    }

    [Fact]
    public void A_huge_sparse_disk_opens_and_maps_at_once()
    {
        // 62 TB in clusters of 64 KiB: an L1 table of a mebibyte, nothing else.
        byte[] image = new byte[3 << 20];
        new Qcow2Writer(16).Build().AsSpan(0, 512).CopyTo(image);
        Qcow2Writer.U64(image, 24, 62UL << 40);
        Qcow2Writer.U32(image, 36, 62U << 11);
        Qcow2Writer.U64(image, 40, 1 << 20);
        Qcow2.InMemory([("d", image)], disk => Assert.Equal(62L << 40, disk.Content.HoleLength(0, long.MaxValue)));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_images_give_data_or_a_fault()
    {
        byte[] text = [.. Enumerable.Range(0, Qcow2Writer.Cluster).Select(i => (byte)(i / 50))];
        foreach (byte compression in (byte[])[0, 1])
        {
            byte[] image = new Qcow2Writer { Backing = "base", Compression = compression, Features = compression == 0 ? 0UL : 8UL }
                .Extension(BackingFormat, "raw").Data(0, Qcow2Writer.Noise(1)).Entry(2, 1).Packed(3, text).Data(4, text).Packed(6, text).Packed(7, Qcow2Writer.Noise(2)).Build();
            int packedAt = image.Length - 700;
            Mutations.Check(image, Read, [(0, 160), (0, 112), (Qcow2Writer.L1At, 64), (Qcow2Writer.L2At, 64), (packedAt, 700)], Mutations.PerFormat / 2);
        }
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_extended_images_give_data_or_a_fault()
    {
        using var scratch = new Scratch();
        Tool.Shell(
            """
            qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k d.qcow2 128k
            qemu-io -c 'write -P 1 3k 5k' -c 'write -z 16k 1k' -c 'write -P 2 64k 16k' d.qcow2 > /dev/null
            """,
            scratch.Folder);
        byte[] image = File.ReadAllBytes(scratch["d.qcow2"]);
        Mutations.Check(image, Read, [(0, 120), (3 << 14, 8), (4 << 14, 128)]);
    }

    private static void Read(byte[] image, ReadContext context)
    {
        var format = new Qcow2Format();
        var file = new ImageFile("d", 0, new MemorySource(image));
        format.Probe(file);
        format.References(file);
        using VirtualDisk disk = format.Open(file, new OneParent(), context);
        byte[] buffer = new byte[16 << 10];
        long length = disk.Content.Length;
        for (long at = 0; at < Math.Min(length, 256 << 10); at += buffer.Length)
        {
            disk.Content.Locate(at, length - at);
            disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, length - at)));
        }

        if (length > 512)
        {
            disk.Content.Read(length - 512, buffer.AsSpan(0, 512));
        }
    }

    /// <summary>Grants every parent and extent: the same few zeros.</summary>
    private sealed class OneParent : IChainOpener
    {
        public ImageFile OpenExtent(ImageFile from, ImageReference reference) => new(reference.Display, 1, new MemorySource(new byte[2048]));

        public VirtualDisk OpenParent(ImageFile from, ImageReference reference) => new()
        {
            Format = "raw",
            Content = new MemorySource(new byte[2048]),
            Chain = [new ChainLink(reference.Display, "raw")],
        };

        public IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload) => throw new NotSupportedException("nothing here is encrypted");
    }
}
