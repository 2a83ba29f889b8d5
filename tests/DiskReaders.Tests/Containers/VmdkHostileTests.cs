using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

public sealed class VmdkHostileTests
{
    private const int Table = 6 * 512;
    private const int SecondTable = 11 * 512;

    [Theory]
    [InlineData("/etc/shadow", Fault.Refused)]
    [InlineData("../other-tenant/x", Fault.Refused)]
    [InlineData("/dev/sda", Fault.Refused)]
    [InlineData("\\\\.\\PhysicalDrive0", Fault.Refused)]
    [InlineData("..", Fault.Refused)]
    [InlineData("gone", Fault.MissingParent)]
    public void A_named_extent_only_ever_reaches_the_resolver(string name, Fault fault)
    {
        Assert.Equal(fault, VmdkRead.FailsText(VmdkImages.Descriptor("monolithicFlat", $"RW 8 FLAT \"{name}\" 0")).Fault);
        Assert.Equal(fault, VmdkRead.FailsText(VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0", parentCid: 1, parent: name)).Fault);
    }

    [Theory]
    [InlineData("CID=00000001\nCID=00000002", "given twice", Fault.Corrupt)]
    [InlineData("cid=00000001", "given twice", Fault.Corrupt)]
    [InlineData("createType=\"vmfs\"", "given twice", Fault.Corrupt)]
    [InlineData("parentFileNameHint=\"x\"", "no parent", Fault.Corrupt)]
    [InlineData("hello there", "neither comment", Fault.Corrupt)]
    [InlineData("two words=1", "neither comment", Fault.Corrupt)]
    [InlineData("=1", "neither comment", Fault.Corrupt)]
    [InlineData("parentFileNameHint=\"b\" c", "quoted string", Fault.Corrupt)]
    [InlineData("encryption.keySafe = \"vmware:key/list/x\"", "encrypted", Fault.Encrypted)]
    [InlineData("encryptionKeys = \"vmware:key/list/x\"", "encrypted", Fault.Encrypted)]
    [InlineData("encryptedDescriptor = \"x\"", "encrypted", Fault.Encrypted)]
    [InlineData("ddb.iofilters = \"vmwarevmcrypt\"", "encrypted", Fault.Encrypted)]
    [InlineData("encoding=\"utf-16\"", "encoding", Fault.Unsupported)]
    [InlineData("encoding=\"no such\"", "encoding", Fault.Unsupported)]
    [InlineData("RW 8 FLAT \"flat\"", "offset", Fault.Corrupt)]
    [InlineData("RW 8 FLAT \"flat\" -1", "offset", Fault.Corrupt)]
    [InlineData("RW 8 FLAT \"flat\" 99999999999999999999", "offset", Fault.Corrupt)]
    [InlineData("RW 8 SPARSE \"flat\" 0", "offset", Fault.Corrupt)]
    [InlineData("RW 8 FLAT flat 0", "quoted file name", Fault.Corrupt)]
    [InlineData("RW 8 FLAT \"\" 0", "quoted file name", Fault.Corrupt)]
    [InlineData("RW 8 FLAT", "quoted file name", Fault.Corrupt)]
    [InlineData("RW", "bad extent line", Fault.Corrupt)]
    [InlineData("RW 0 FLAT \"flat\" 0", "bad extent line", Fault.Corrupt)]
    [InlineData("RW -8 FLAT \"flat\" 0", "bad extent line", Fault.Corrupt)]
    [InlineData("RW 18446744073709551615 ZERO", "bad extent line", Fault.Corrupt)]
    [InlineData("RW 9223372036854775807 ZERO", "9223372036854775807 sectors", Fault.Limit)]
    [InlineData("RW 2199023255552 ZERO", "bytes of disk", Fault.Limit)]
    [InlineData("RW 8 VMFSRDM \"x\"", "VMFSRDM", Fault.Unsupported)]
    [InlineData("RW 8 WEIRD \"x\"", "WEIRD", Fault.Unsupported)]
    [InlineData("NOACCESS 8 FLAT \"flat\" 0", "without access", Fault.Unsupported)]
    [InlineData("RW 8 FLAT \"flat\" 0 partitionUUID dev", "host device", Fault.Refused)]
    public void A_descriptor_line_that_readers_could_take_differently_refuses_it(string line, string says, Fault fault)
    {
        DiskFormatException e = VmdkRead.FailsText(VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0\n" + line));
        Assert.Equal(fault, e.Fault);
        Assert.Contains(says, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("custom", Fault.Refused)]
    [InlineData("fullDevice", Fault.Refused)]
    [InlineData("partitionedDevice", Fault.Refused)]
    [InlineData("vmfsRawDeviceMap", Fault.Refused)]
    [InlineData("somethingNew", Fault.Unsupported)]
    [InlineData("", Fault.Unsupported)]
    public void A_create_type_that_is_not_a_disk_of_files_is_refused(string createType, Fault fault) =>
        Assert.Equal(fault, VmdkRead.FailsText(VmdkImages.Descriptor(createType, "RW 8 FLAT \"flat\" 0")).Fault);

    [Theory]
    [InlineData("version=1\n", "version")]
    [InlineData("CID=12345678\n", "CID")]
    [InlineData("parentCID=ffffffff\n", "parentCID")]
    [InlineData("createType=\"monolithicFlat\"\n", "createType")]
    [InlineData("RW 8 FLAT \"flat\" 0\n", "no extents")]
    public void A_descriptor_without_a_line_it_must_have_is_refused(string line, string says)
    {
        string descriptor = VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0").ReplaceLineEndings("\n");
        Assert.Contains(line, descriptor, StringComparison.Ordinal);
        Assert.Contains(says, VmdkRead.FailsText(descriptor.Replace("\n" + line, "\n", StringComparison.Ordinal)).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_delta_that_names_no_parent_is_missing_it() =>
        Assert.Equal(Fault.MissingParent, VmdkRead.FailsText(VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0", parentCid: 1)).Fault);

    [Fact]
    public void Too_many_extents_or_too_large_a_descriptor_are_refused()
    {
        string many = string.Concat(Enumerable.Repeat("RW 1 ZERO\n", 9000));
        Assert.Equal(Fault.Limit, VmdkRead.FailsText(VmdkImages.Descriptor("monolithicFlat", many)).Fault);
        string large = VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0") + new string('#', 1 << 20);
        Assert.Equal(Fault.Limit, VmdkRead.FailsText(large).Fault);
    }

    [Fact]
    public void A_chain_that_is_its_own_parent_is_refused()
    {
        byte[] One(string parent) => VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0", 1, 1, parent));
        Assert.Equal(Fault.Refused, VmdkRead.Fails(("a", One("a")), ("flat", new byte[4096])).Fault);
        Assert.Equal(Fault.Refused, VmdkRead.Fails(("a", One("b")), ("b", One("a")), ("flat", new byte[4096])).Fault);
        (string, byte[])[] deep = [.. Enumerable.Range(0, 99).Select(i => ($"d{i}", One($"d{i + 1}"))), ("flat", new byte[4096])];
        Assert.Equal(Fault.Limit, VmdkRead.Fails(deep).Fault);
    }

    [Fact]
    public void A_parent_of_another_size_is_refused()
    {
        DiskFormatException e = VmdkRead.Fails(
            ("a", VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0", 1, 2, "b"))),
            ("b", VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", "RW 7 FLAT \"flat\" 0", 2))),
            ("flat", new byte[4096]));
        Assert.Equal(Fault.MissingParent, e.Fault);
        Assert.Contains("3584", e.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_flat_extent_that_ends_early_is_reported_and_never_zeros()
    {
        byte[] flat = [.. Enumerable.Repeat((byte)7, 1000)];
        IReadOnlyList<CoverageGap> gaps = VmdkRead.With(
            [("disk.vmdk", VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", "RW 8 FLAT \"flat\" 0"))), ("flat", flat)],
            disk =>
            {
                byte[] head = new byte[1000];
                disk.Content.Read(0, head);
                Assert.Equal(flat, head);
                Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => disk.Content.Read(999, new byte[2])).Fault);
                Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => disk.Content.Locate(1000, 1)).Fault);
            });
        CoverageGap gap = Assert.Single(gaps);
        Assert.Equal((Fault.Truncated, 1000L, 3096L), (gap.Fault, gap.Offset, gap.Bytes));
    }

    [Theory]
    [InlineData(4, 4u, Fault.Unsupported)]
    [InlineData(8, 0x8u, Fault.Unsupported)]
    [InlineData(8, 0x1_0003u, Fault.Corrupt)]
    [InlineData(20, 0u, Fault.Corrupt)]
    [InlineData(20, 15u, Fault.Corrupt)]
    [InlineData(20, 0x0040_0000u, Fault.Limit)]
    [InlineData(24, 0x8000_0000u, Fault.Corrupt)]
    [InlineData(28, 2u, Fault.Corrupt)]
    [InlineData(36, 0u, Fault.Corrupt)]
    [InlineData(36, 0x7FFF_FFFFu, Fault.Limit)]
    [InlineData(44, 0u, Fault.Corrupt)]
    [InlineData(44, 511u, Fault.Corrupt)]
    [InlineData(44, 1u << 20, Fault.Limit)]
    [InlineData(16, 0x003F_FFFFu, Fault.Limit)]
    [InlineData(16, 0xFFFF_FFFFu, Fault.Corrupt)]
    [InlineData(16, 1u, Fault.Truncated)]
    [InlineData(73, 0x0A0D_0A20u, Fault.Corrupt)]
    [InlineData(77, 2u, Fault.Unsupported)]
    [InlineData(77, 1u, Fault.Corrupt)]
    public void A_bad_sparse_header_field_is_refused(int at, uint value, Fault fault)
    {
        byte[] image = Sound();
        VmdkImages.Put32(image, at, value);
        Assert.Equal(fault, VmdkRead.Fails(("disk.vmdk", image)).Fault);
    }

    [Theory]
    [InlineData(0x7FFF_FFFFu, Fault.Truncated)]
    [InlineData(1u, Fault.Corrupt)]
    [InlineData(4u, Fault.Corrupt)]
    public void A_grain_outside_the_file_or_inside_the_header_is_a_fault(uint entry, Fault fault)
    {
        byte[] image = VmdkImages.Hosted([Grain.Data(1), Grain.Data(2)], Embedded(2), zeroed: false);
        VmdkImages.Put32(image, Table + 4, entry);
        VmdkImages.Put32(image, SecondTable + 4, entry);
        Assert.Equal(fault, VmdkRead.Fails(("disk.vmdk", image)).Fault);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(512)]
    [InlineData(VmdkImages.HostedGrain - 1)]
    public void A_sparse_file_cut_within_its_last_grain_gives_what_is_there_and_a_fault(int cut)
    {
        byte[] image = VmdkImages.Hosted([Grain.Data(1), Grain.Data(2)], Embedded(2));
        VmdkRead.With([("disk.vmdk", image[..^cut])], disk =>
        {
            byte[] present = new byte[(2 * VmdkImages.HostedGrain) - cut];
            disk.Content.Read(0, present);
            Assert.Equal(2, present[^1]);
            Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => disk.Content.Read(present.Length, new byte[1])).Fault);
        });
    }

    [Theory]
    [InlineData("/etc/passwd", "SPARSE", "monolithicSparse", Fault.Refused)]
    [InlineData("..\\x", "SPARSE", "monolithicSparse", Fault.Refused)]
    [InlineData("disk.vmdk", "VMFS", "monolithicSparse", Fault.Corrupt)]
    [InlineData("disk.vmdk", "SPARSE", "monolithicFlat", Fault.Unsupported)]
    public void An_embedded_descriptor_that_points_elsewhere_is_refused(string name, string type, string createType, Fault fault)
    {
        byte[] image = VmdkImages.Hosted([Grain.Data(1)], VmdkImages.Descriptor(createType, $"RW 16 {type} \"{name}\""));
        Assert.Equal(fault, VmdkRead.Fails(("disk.vmdk", image), ("flat", new byte[4096])).Fault);
    }

    [Theory]
    [InlineData(4, "version")]
    [InlineData(8, "flags")]
    [InlineData(12, "capacity")]
    [InlineData(20, "grainSize")]
    [InlineData(36, "descriptorSize")]
    [InlineData(44, "numGTEsPerGT")]
    public void A_footer_that_differs_from_its_header_is_refused(int at, string field)
    {
        byte[] image = Streamed();
        int footer = image.Length - 1024;
        VmdkImages.Put32(image, footer + at, at switch { 4 => 2, 8 => 0x3_0005, 12 => 16, 20 => 8, 36 => 3, _ => 256 });
        DiskFormatException e = VmdkRead.Fails(("disk.vmdk", image));
        Assert.Equal(Fault.Corrupt, e.Fault);
        Assert.StartsWith(field, e.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_stream_without_its_footer_is_truncated()
    {
        byte[] image = Streamed();
        Assert.Equal(Fault.Truncated, VmdkRead.Fails(("disk.vmdk", image[..^512])).Fault);
        Assert.Equal(Fault.Truncated, VmdkRead.Fails(("disk.vmdk", image[..(image.Length / 2)])).Fault);
        VmdkImages.Put64(image, image.Length - 1024 + 56, ulong.MaxValue);
        Assert.Equal(Fault.Corrupt, VmdkRead.Fails(("disk.vmdk", image)).Fault);
    }

    [Fact]
    public void A_packed_grain_must_be_of_its_own_place_and_of_exactly_one_grain()
    {
        const int FirstMarker = 5 * 512;
        byte[] moved = Streamed();
        VmdkImages.Put64(moved, FirstMarker, 16);
        Assert.Contains("sector 16", VmdkRead.Fails(("disk.vmdk", moved)).Detail, StringComparison.Ordinal);
        byte[] huge = Streamed();
        VmdkImages.Put32(huge, FirstMarker + 8, uint.MaxValue);
        Assert.Equal(Fault.Corrupt, VmdkRead.Fails(("disk.vmdk", huge)).Fault);
        byte[] dictionary = Streamed();
        dictionary[FirstMarker + 12] = 0x78;
        dictionary[FirstMarker + 13] = 0xBB;
        Assert.Equal(Fault.Corrupt, VmdkRead.Fails(("disk.vmdk", dictionary)).Fault);
        byte[] cut = Streamed();
        VmdkImages.Put32(cut, FirstMarker + 8, 20);
        Assert.Equal(Fault.Corrupt, VmdkRead.Fails(("disk.vmdk", cut)).Fault);
        foreach (int length in new[] { VmdkImages.HostedGrain - 1, VmdkImages.HostedGrain + 1, 16 << 20 })
        {
            byte[] wrong = VmdkImages.Stream([Grain.Data(1), Grain.Data(2)], Embedded(2, "streamOptimized"), _ => new byte[length]);
            Assert.Equal(Fault.Corrupt, VmdkRead.Fails(("disk.vmdk", wrong)).Fault);
        }
    }

    [Theory]
    [InlineData(4, 3u, Fault.Unsupported)]
    [InlineData(16, 3u, Fault.Corrupt)]
    [InlineData(16, 0u, Fault.Corrupt)]
    [InlineData(12, 0u, Fault.Corrupt)]
    [InlineData(12, 50u, Fault.Corrupt)]
    [InlineData(20, 0u, Fault.Corrupt)]
    [InlineData(20, 0x7FFF_FFFFu, Fault.Truncated)]
    [InlineData(24, 0u, Fault.Corrupt)]
    [InlineData(2048, 3u, Fault.Corrupt)]
    [InlineData(2048, 0x7FFF_FFFFu, Fault.Truncated)]
    public void A_bad_cow_disk_field_is_refused(int at, uint value, Fault fault)
    {
        byte[] extent = VmdkImages.CowDisk(VmdkImages.Mixture(100, 1, zeros: false));
        VmdkImages.Put32(extent, at, value);
        byte[] descriptor = VmdkImages.Text(VmdkImages.Descriptor("vmfsSparse", "RW 100 VMFSSPARSE \"extent\""));
        Assert.Equal(fault, VmdkRead.Fails(("disk.vmdk", descriptor), ("extent", extent)).Fault);
    }

    [Theory]
    [InlineData(8, 0x2_0000_0002u, Fault.Unsupported)]
    [InlineData(16, 0x100_0000_0000_0000u, Fault.Limit)]
    [InlineData(24, 16u, Fault.Unsupported)]
    [InlineData(32, 32u, Fault.Unsupported)]
    [InlineData(40, 1u, Fault.Unsupported)]
    [InlineData(48, 1u, Fault.Unsupported)]
    [InlineData(80, 0xFFFF_FFFFu, Fault.Truncated)]
    [InlineData(128, 0xFFFF_FFFFu, Fault.Truncated)]
    [InlineData(136, 0u, Fault.Corrupt)]
    [InlineData(152, 0u, Fault.Corrupt)]
    [InlineData(192, 0xFFFF_FFFF_FFFFu, Fault.Truncated)]
    [InlineData(504, 1u, Fault.Unsupported)]
    [InlineData(512, 0u, Fault.Corrupt)]
    [InlineData(536, 1u, Fault.Unsupported)]
    [InlineData(2048, 0x2000_0000_0000_0000u, Fault.Corrupt)]
    [InlineData(2048, 0x1000_0000_0000_0001u, Fault.Corrupt)]
    [InlineData(4096, 0x4000_0000_0000_0000u, Fault.Corrupt)]
    [InlineData(4096, 0x0000_0000_0000_0001u, Fault.Corrupt)]
    [InlineData(4096, 0x3FFF_FFFF_FFFF_FFFFu, Fault.Corrupt)]
    [InlineData(4096, 0x3000_0000_00FF_FFFFu, Fault.Truncated)]
    public void A_bad_space_efficient_sparse_field_is_refused(int at, ulong value, Fault fault)
    {
        byte[] extent = VmdkImages.SeSparse([Grain.Data(1), Grain.Data(2), Grain.Hole]);
        VmdkImages.Put64(extent, at, value);
        byte[] descriptor = VmdkImages.Text(VmdkImages.Descriptor("seSparse", "RW 24 SESPARSE \"extent\""));
        Assert.Equal(fault, VmdkRead.Fails(("disk.vmdk", descriptor), ("extent", extent)).Fault);
    }

    [Fact]
    public void An_extent_that_only_a_descriptor_can_place_is_not_opened_alone()
    {
        Assert.Equal(Fault.MissingParent, VmdkRead.Fails(("x-delta.vmdk", VmdkImages.CowDisk([Grain.Data(1)]))).Fault);
        Assert.Equal(Fault.MissingParent, VmdkRead.Fails(("x-sesparse.vmdk", VmdkImages.SeSparse([Grain.Data(1)]))).Fault);
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("KDM", false)]
    [InlineData("KDMVxxxx", true)]
    [InlineData("COWDxxxx", true)]
    [InlineData("# Disk DescriptorFile\n", true)]
    [InlineData("\n# a\n  \r\nversion=1\n", true)]
    [InlineData("version=1", true)]
    [InlineData("#!/bin/sh\necho", false)]
    [InlineData("hello", false)]
    public void Only_magic_or_a_descriptor_is_recognised(string text, bool expected)
    {
        using var source = new MemorySource(VmdkImages.Text(text));
        Assert.Equal(expected, VmdkRead.Formats[0].Probe(new ImageFile("x", 1, source)));
    }

    private static string Embedded(int grains, string createType = "monolithicSparse") =>
        VmdkImages.Descriptor(createType, $"RW {grains * 16} SPARSE \"disk.vmdk\"");

    private static byte[] Sound() => VmdkImages.Hosted([Grain.Data(1), Grain.Zero, Grain.Hole], Embedded(3));

    private static byte[] Streamed() => VmdkImages.Stream([Grain.Data(1), Grain.Hole, Grain.Data(3)], Embedded(3, "streamOptimized"));
}
