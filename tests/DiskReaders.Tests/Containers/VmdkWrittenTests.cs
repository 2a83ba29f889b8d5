using CsCheck;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>VMDK kinds that are written here from the specification; where QEMU reads them, against QEMU too.</summary>
public sealed class VmdkWrittenTests
{
    [Fact]
    public void A_vmfs_sparse_delta_shows_its_parent_through_holes()
    {
        Grain[] grains = VmdkImages.Mixture(10_000, 1, zeros: false);
        byte[] parent = new byte[grains.Length * 512];
        parent.AsSpan().Fill(0x99);
        byte[] content = [];
        IReadOnlyList<CoverageGap> gaps = VmdkRead.With(VmfsSparse(grains, parent), disk =>
        {
            Assert.Equal("vmdk/vmfsSparse", disk.Format);
            Assert.Equal("0000beef", disk.Identity);
            Assert.Equal(["delta.vmdk", "base.vmdk"], disk.Chain.Select(c => c.Path));
            Assert.Equal(["vmdk/vmfsSparse", "vmdk/vmfs"], disk.Chain.Select(c => c.Format));
            content = disk.Content.ReadAll();
        });
        Assert.Equal(VmdkImages.Expected(grains, 512, 0x99), content);
        Assert.Empty(gaps);
    }

    [Theory]
    [InlineData(1, "vmfsSparse", "VMFSSPARSE")]
    [InlineData(8, "vmfsSparse", "VMFSSPARSE")]
    [InlineData(0, "seSparse", "SESPARSE")]
    public void Esxi_sparse_extents_read_as_qemu_img_reads_them(int grainSectors, string createType, string type)
    {
        Grain[] grains = VmdkImages.Mixture(9000, 7, zeros: grainSectors == 0);
        byte[] extent = grainSectors == 0 ? VmdkImages.SeSparse(grains) : VmdkImages.CowDisk(grains, grainSectors);
        int grainBytes = grainSectors == 0 ? 4096 : grainSectors * 512;
        byte[] descriptor = VmdkImages.Text(VmdkImages.Descriptor(createType, $"RW {grains.Length * grainBytes / 512} {type} \"extent.vmdk\""));
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["disk.vmdk"], descriptor);
        File.WriteAllBytes(scratch["extent.vmdk"], extent);
        Tool.Run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", scratch["disk.vmdk"], scratch["expected.raw"]);
        byte[] content = VmdkRead.All(out IReadOnlyList<CoverageGap> gaps, ("disk.vmdk", descriptor), ("extent.vmdk", extent));
        Assert.Equal(VmdkImages.Expected(grains, grainBytes), content);
        Assert.Equal(File.ReadAllBytes(scratch["expected.raw"]), content);
        Assert.Empty(gaps);
    }

    [Fact]
    public void A_stream_with_its_directory_at_the_end_reads_as_qemu_img_reads_it()
    {
        Grain[] grains = VmdkImages.Mixture(300, 3, zeros: false);
        byte[] image = VmdkImages.Stream(grains, Embedded("streamOptimized", grains.Length));
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["disk.vmdk"], image);
        Tool.Run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", scratch["disk.vmdk"], scratch["expected.raw"]);
        byte[] content = VmdkRead.All(out IReadOnlyList<CoverageGap> gaps, ("disk.vmdk", image));
        Assert.Equal(VmdkImages.Expected(grains, VmdkImages.HostedGrain), content);
        Assert.Equal(File.ReadAllBytes(scratch["expected.raw"]), content);
        Assert.Empty(gaps);
    }

    [Theory]
    [InlineData(VmdkImages.HostedGrain)]
    [InlineData(7 * VmdkImages.Sector)]
    public void The_last_grain_of_a_stream_may_be_stored_whole_or_cut(int stored)
    {
        Grain[] grains = [Grain.Data(1), Grain.Data(2)];
        const int Sectors = 16 + 7;
        byte[] image = VmdkImages.Stream(
            grains,
            VmdkImages.Descriptor("streamOptimized", $"RW {Sectors} SPARSE \"disk.vmdk\""),
            i => [.. Enumerable.Repeat(grains[i].Value, i == 0 ? VmdkImages.HostedGrain : stored)],
            Sectors);
        byte[] content = VmdkRead.All(("disk.vmdk", image));
        Assert.Equal(VmdkImages.Expected(grains, VmdkImages.HostedGrain)[..(Sectors * 512)], content);
    }

    [Fact]
    public void Extents_of_every_kind_are_joined_in_one_disk()
    {
        Grain[] hosted = VmdkImages.Mixture(20, 11, zeros: true);
        Grain[] cow = VmdkImages.Mixture(77, 12, zeros: false);
        Grain[] se = VmdkImages.Mixture(9, 13, zeros: true);
        Grain[] packed = VmdkImages.Mixture(12, 14, zeros: false);
        byte[] flat = [.. Enumerable.Range(0, 10 * 512).Select(i => (byte)i)];
        string extents =
            $"""
            RW {hosted.Length * 16} SPARSE "hosted"
            RW 3 ZERO
            RW {cow.Length} VMFSSPARSE "cow"
            RW {se.Length * 8} SESPARSE "se"
            RDONLY 5 FLAT "flat" 4
            RW {packed.Length * 16} SPARSE "packed"
            RW 2 VMFS "flat"
            """;
        (string, byte[])[] files =
        [
            ("disk.vmdk", VmdkImages.Text(VmdkImages.Descriptor("2GbMaxExtentSparse", extents))),
            ("hosted", VmdkImages.Hosted(hosted)),
            ("cow", VmdkImages.CowDisk(cow)),
            ("se", VmdkImages.SeSparse(se)),
            ("flat", flat),
            ("packed", VmdkImages.Stream(packed, Embedded("streamOptimized", packed.Length))),
        ];
        byte[] expected =
        [
            .. VmdkImages.Expected(hosted, VmdkImages.HostedGrain),
            .. new byte[3 * 512],
            .. VmdkImages.Expected(cow, 512),
            .. VmdkImages.Expected(se, 4096),
            .. flat[(4 * 512)..(9 * 512)],
            .. VmdkImages.Expected(packed, VmdkImages.HostedGrain),
            .. flat[..(2 * 512)],
        ];
        VmdkRead.With(files, disk =>
        {
            Assert.Equal("vmdk/twoGbMaxExtentSparse", disk.Format);
            Assert.Equal(expected, disk.Content.ReadAll());
        });
        Gen.Select(Gen.Int[0, expected.Length - 1], Gen.Int[1, 40_000], Gen.Int[1, 9000]).Sample(
            (at, length, step) =>
            {
                length = Math.Min(length, expected.Length - at);
                byte[] pieces = new byte[length];
                VmdkRead.With(files, disk =>
                {
                    for (int done = 0; done < length; done += step)
                    {
                        disk.Content.Read(at + done, pieces.AsSpan(done, Math.Min(step, length - done)));
                    }
                });
                return pieces.AsSpan().SequenceEqual(expected.AsSpan(at, length));
            },
            iter: 300);
    }

    [Fact]
    public void Packed_grains_say_in_which_file_and_where_they_lie()
    {
        Grain[] grains = [Grain.Hole, Grain.Data(1), Grain.Data(2)];
        VmdkRead.With([("disk.vmdk", VmdkImages.Stream(grains, Embedded("streamOptimized", 3)))], disk =>
        {
            Assert.Equal(ExtentKind.Hole, disk.Content.Locate(0, 100_000_000 % disk.Content.Length).Kind);
            StoredExtent first = disk.Content.Locate(VmdkImages.HostedGrain, 2 * VmdkImages.HostedGrain);
            StoredExtent second = disk.Content.Locate(2 * VmdkImages.HostedGrain, VmdkImages.HostedGrain);
            Assert.Equal(new StoredExtent(ExtentKind.Packed, VmdkImages.HostedGrain, 1, 5 * 512), first);
            Assert.True(second.Position > first.Position);
        });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_damaged_copy_of_the_tables_is_replaced_by_the_sound_one(int damage)
    {
        Grain[] grains = VmdkImages.Mixture(60, 5, zeros: true);
        byte[] image = VmdkImages.Hosted(grains, Embedded("monolithicSparse", grains.Length));
        const int Rgd = 5 * 512;
        const int Gd = 10 * 512;
        switch (damage)
        {
            case 0:
                VmdkImages.Put64(image, 56, 1 << 30);
                break;
            case 1:
                VmdkImages.Put32(image, Gd, uint.MaxValue);
                break;
            case 2:
                VmdkImages.Put32(image, Gd, 0);
                break;
            default:
                VmdkImages.Put32(image, Rgd, 0x7FFF_0000);
                break;
        }

        Assert.Equal(VmdkImages.Expected(grains, VmdkImages.HostedGrain), VmdkRead.All(out IReadOnlyList<CoverageGap> gaps, ("disk.vmdk", image)));
        Assert.Empty(gaps);
    }

    [Fact]
    public void Sound_copies_of_the_tables_that_differ_are_reported_once()
    {
        Grain[] grains = [Grain.Data(1), Grain.Data(2), Grain.Hole];
        byte[] image = VmdkImages.Hosted(grains, Embedded("monolithicSparse", grains.Length));
        VmdkImages.Put32(image, 11 * 512, 0);
        byte[] content = VmdkRead.All(out IReadOnlyList<CoverageGap> gaps, ("disk.vmdk", image));
        Assert.Equal(VmdkImages.Expected(grains, VmdkImages.HostedGrain), content);
        CoverageGap gap = Assert.Single(gaps);
        Assert.Equal((Fault.Corrupt, "grain table"), (gap.Fault, gap.Structure));
    }

    [Fact]
    public void An_extent_without_a_descriptor_is_read_and_reported()
    {
        Grain[] grains = VmdkImages.Mixture(8, 5, zeros: true);
        byte[] content = VmdkRead.All(out IReadOnlyList<CoverageGap> gaps, ("disk-s001.vmdk", VmdkImages.Hosted(grains)));
        Assert.Equal(VmdkImages.Expected(grains, VmdkImages.HostedGrain), content);
        Assert.Equal(Fault.MissingParent, Assert.Single(gaps).Fault);
    }

    [Fact]
    public void A_sparse_header_without_capacity_only_carries_a_descriptor()
    {
        byte[] image = VmdkImages.Hosted([Grain.Hole], VmdkImages.Descriptor("monolithicFlat", "RW 2 FLAT \"flat\" 1"), sectors: 0);
        byte[] flat = [.. Enumerable.Range(0, 3 * 512).Select(i => (byte)(i / 512))];
        Assert.Equal(flat[512..], VmdkRead.All(("disk.vmdk", image), ("flat", flat)));
    }

    [Fact]
    public void Harmless_lines_are_tolerated()
    {
        string descriptor = VmdkImages.Descriptor(
            "VMFS", "rw 1 vmfs \"flat\"\n\tddb.comment = \"a \"b\" c\"\nchangeTrackPath=\"x-ctk.vmdk\"\n  # note\nisNativeSnapshot=\"no\"\nisNativeSnapshot=\"no\"");
        Assert.Equal(new byte[512], VmdkRead.All(("disk.vmdk", VmdkImages.Text(descriptor.ReplaceLineEndings("\r\n"))), ("flat", new byte[512])));
    }

    [Fact]
    public void Many_threads_read_through_caches_that_are_too_small_for_them()
    {
        // 160 grain tables for 64 cached ones.
        var grains = new Grain[160 * 4096];
        for (int i = 0; i < grains.Length; i += 100)
        {
            grains[i] = Grain.Data((byte)(1 + (i % 251)));
        }

        byte[] descriptor = VmdkImages.Text(VmdkImages.Descriptor("vmfsSparse", $"RW {grains.Length} VMFSSPARSE \"extent\""));
        VmdkRead.With([("disk.vmdk", descriptor), ("extent", VmdkImages.CowDisk(grains))], disk =>
            Parallel.For(0, 4, new ParallelOptions { MaxDegreeOfParallelism = 4 }, seed =>
            {
                var random = new Random(seed);
                byte[] bytes = new byte[512];
                for (int i = 0; i < 30_000; i++)
                {
                    int grain = random.Next(2) == 0 ? random.Next(grains.Length) : random.Next(grains.Length / 100) * 100;
                    disk.Content.Read(grain * 512L, bytes);
                    if (bytes.AsSpan().ContainsAnyExcept(grains[grain].Value))
                    {
                        throw new InvalidOperationException($"grain {grain} reads as {bytes[0]}");
                    }
                }
            }));
    }

    [Fact]
    public void References_name_extents_and_parent_without_opening_them()
    {
        byte[] text = VmdkImages.Text(VmdkImages.Descriptor(
            "twoGbMaxExtentSparse", "RW 8 SPARSE \"a b-s001.vmdk\"\nRW 8 ZERO\nRW 8 FLAT \"/etc/shadow\" 0", parentCid: 1, parent: "..\\base.vmdk"));
        using var source = new MemorySource(text);
        IReadOnlyList<ImageReference> references = VmdkRead.Formats[0].References(new ImageFile("disk.vmdk", 1, source));
        Assert.Equal(
            [(ReferenceKind.Extent, "a b-s001.vmdk"), (ReferenceKind.Extent, "/etc/shadow"), (ReferenceKind.Parent, "..\\base.vmdk")],
            references.Select(r => (r.Kind, r.Display)));
    }

    [Fact]
    public void Names_are_decoded_as_the_descriptor_says()
    {
        byte[] text = [.. "version=1\nencoding=\"windows-1252\"\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"M"u8, 0xFC, .. "ll-flat.vmdk\" 0\n"u8];
        Assert.Equal(new byte[512], VmdkRead.All(("disk.vmdk", text), ("Müll-flat.vmdk", new byte[512])));
    }

    private static string Embedded(string createType, int grains) =>
        VmdkImages.Descriptor(createType, $"RW {grains * VmdkImages.HostedGrain / 512} SPARSE \"disk.vmdk\"");

    private static (string, byte[])[] VmfsSparse(Grain[] grains, byte[] parent) =>
    [
        ("delta.vmdk", VmdkImages.Text(VmdkImages.Descriptor("vmfsSparse", $"RW {grains.Length} VMFSSPARSE \"delta-delta.vmdk\"", 0xBEEF, 0xCAFE, "base.vmdk"))),
        ("delta-delta.vmdk", VmdkImages.CowDisk(grains)),
        ("base.vmdk", VmdkImages.Text(VmdkImages.Descriptor("vmfs", $"RW {grains.Length} VMFS \"base-flat.vmdk\"", 0xCAFE))),
        ("base-flat.vmdk", parent),
    ];
}
