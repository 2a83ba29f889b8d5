using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>Differencing disks, which qemu-img neither makes nor reads: built from the specification, held to a model of plain arrays and to 7-Zip.</summary>
public sealed class VhdxDifferencingTests
{
    private const int Megabyte = 1 << 20;

    private static readonly Guid BaseId = new("83ED0EC3-24C8-49A6-A959-5E4BF1288BFB");

    [Fact]
    public void A_missing_parent_is_a_fault() =>
        Assert.Equal(Fault.MissingParent, Vhdx.Fault(Child(BaseId).Build()).Fault);

    [Fact]
    public void A_parent_with_another_identity_is_a_fault_that_names_both()
    {
        var other = Guid.NewGuid();
        DiskFormatException fault = Vhdx.Fault(Child(BaseId).Build(), Parents(Base(other)));
        Assert.Equal(Fault.MissingParent, fault.Fault);
        Assert.Contains(BaseId.ToString("D"), fault.Detail, StringComparison.Ordinal);
        Assert.Contains(other.ToString("D"), fault.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_parent_with_other_sectors_is_a_fault() =>
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(Child(BaseId).Build(), Parents(new VhdxWriter { SectorBytes = 4096, DataWriteGuid = BaseId })).Fault);

    [Fact]
    public void The_second_linkage_is_as_good_as_the_first() =>
        Assert.Equal(
            Vhdx.Read(Base(BaseId).Build()),
            Vhdx.Read(new VhdxWriter { Parent = [.. Locator(Guid.NewGuid()), ("parent_linkage2", BaseId.ToString("B"))] }.Build(), Parents(Base(BaseId))));

    [Fact]
    public void The_parents_paths_are_named_in_the_order_in_which_they_are_tried()
    {
        VhdxWriter child = new()
        {
            Parent =
            [
                ("volume_path", @"\\?\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\p.vhdx"), ("unknown", "x"),
                ("absolute_win32_path", @"\\?\d:\p.vhdx"), ("parent_linkage", BaseId.ToString("B")), ("relative_path", @".\p.vhdx"),
            ],
        };
        ImageReference reference = Assert.Single(new VhdxFormat().References(new ImageFile("c", 0, new MemorySource(child.Build()))));
        Assert.Equal(ReferenceKind.Parent, reference.Kind);
        Assert.Equal([@".\p.vhdx", @"\\?\d:\p.vhdx", @"\\?\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\p.vhdx"], reference.Candidates);
    }

    [Fact]
    public void A_locator_of_another_type_is_unsupported() =>
        Assert.Equal(Fault.Unsupported, Vhdx.Fault(new VhdxWriter { Parent = Locator(BaseId), LocatorType = Guid.NewGuid() }.Build()).Fault);

    public static TheoryData<string, (string, string)[]> BadLocators => new()
    {
        { "no linkage", [("relative_path", "p")] },
        { "no path", [("parent_linkage", BaseId.ToString("B"))] },
        { "empty path", [("parent_linkage", BaseId.ToString("B")), ("relative_path", "")] },
        { "a linkage that is no GUID", [("parent_linkage", "{zz}"), ("relative_path", "p")] },
        { "the same key twice", [.. Locator(BaseId), ("relative_path", "q")] },
    };

    [Theory]
    [MemberData(nameof(BadLocators))]
    public void A_bad_locator_is_corrupt(string why, (string, string)[] entries) =>
        Assert.True(Vhdx.Fault(new VhdxWriter { Parent = entries }.Build()).Fault == Fault.Corrupt, why);

    [Fact]
    public void A_partially_present_block_without_its_bitmap_is_corrupt() =>
        Assert.Equal(Fault.Corrupt, Vhdx.Fault(Child(BaseId).Block(0, 7, new byte[Megabyte]).Build(), Parents(Base(BaseId))).Fault);

    [Fact]
    public void A_sector_bitmap_beyond_the_file_is_truncated()
    {
        byte[] image = Child(BaseId).Partial(0, new byte[Megabyte], _ => true).Build();
        Assert.Equal(Fault.Truncated, Vhdx.Fault(image[..^1], Parents(Base(BaseId))).Fault);
    }

    [Fact]
    public void A_larger_disk_over_a_smaller_parent_ends_in_zeros()
    {
        byte[] image = new VhdxWriter { DiskBytes = 5 * Megabyte, Parent = Locator(BaseId) }.Build();
        byte[] expected = new byte[5 * Megabyte];
        Vhdx.Read(Base(BaseId).Build()).CopyTo(expected, 0);
        Assert.Equal(expected, Vhdx.Read(image, Parents(Base(BaseId))));
    }

    [Theory]
    [InlineData(512, 1, 1)]
    [InlineData(512, 2, 2)]
    [InlineData(512, 8, 3)]
    [InlineData(4096, 1, 4)]
    [InlineData(4096, 4, 5)]
    public void A_chain_of_three_reads_as_its_model_however_it_is_sliced(int sectorBytes, int blockMegabytes, int seed)
    {
        var random = new Random(seed);
        int blockBytes = blockMegabytes * Megabyte;
        byte[] model = new byte[(3 * blockBytes) + (8 * 4096)];
        Dictionary<string, byte[]> images = [];
        byte[] leaf = [];
        var id = Guid.Empty;
        for (int layer = 0; layer < 3; layer++)
        {
            var own = Guid.NewGuid();
            var writer = new VhdxWriter
            {
                SectorBytes = sectorBytes,
                BlockBytes = blockBytes,
                DiskBytes = model.Length,
                DataWriteGuid = own,

                // Two files of one length 7-Zip takes for a cycle.
                BatMegabytes = 1 + (layer * ((4 * blockMegabytes) + 2)),
                Parent = layer == 0 ? null : [("parent_linkage", id.ToString("B")), ("relative_path", $@".\{layer - 1}.vhdx")],
            };
            for (int block = 0; block < 4; block++)
            {
                AddBlock(writer, block, layer, random, model);
            }

            leaf = writer.Build();
            images[$@".\{layer}.vhdx"] = leaf;
            id = own;
        }

        ReadContext context = Vhdx.Context();
        using (VirtualDisk disk = Vhdx.Open(leaf, context, images))
        {
            Assert.Equal("vhdx/differencing", disk.Format);
            Assert.Equal(sectorBytes, disk.SectorBytes);
            Assert.Equal(["leaf.vhdx", @".\1.vhdx", @".\0.vhdx"], disk.Chain.Select(link => link.Path));
            Assert.Equal(["vhdx/differencing", "vhdx/differencing", "vhdx/dynamic"], disk.Chain.Select(link => link.Format));
            Assert.Equal(id.ToString("D"), disk.Identity);
            Assert.True(model.AsSpan().SequenceEqual(disk.Content.ReadAll()), "not what the model holds");
            byte[] pieces = new byte[model.Length];
            for (int at = 0; at < pieces.Length;)
            {
                int count = Math.Min(random.Next(1, 1 << random.Next(1, 21)), pieces.Length - at);
                disk.Content.Read(at, pieces.AsSpan(at, count));
                StoredExtent extent = disk.Content.Locate(at, count);
                Assert.InRange(extent.Length, 1, count);
                Assert.True(extent.IsStored || model.AsSpan(at, (int)extent.Length).IndexOfAnyExcept((byte)0) < 0, $"not stored and not zero at {at}");
                at += count;
            }

            Assert.True(model.AsSpan().SequenceEqual(pieces), "slices differ");
        }

        Assert.Equal(0, context.Budget.InUse);
        AssertEqualsSevenZip(images, model);
    }

    [Fact]
    public void Sector_bitmaps_of_the_second_chunk_are_found()
    {
        // 32 MiB blocks of 512-byte sectors: 128 in a chunk. The second chunk begins at 4 GiB.
        const int BlockBytes = 32 << 20;
        var parent = new VhdxWriter { BlockBytes = BlockBytes, DiskBytes = 129L * BlockBytes, DataWriteGuid = BaseId };
        byte[] content = new byte[BlockBytes];
        content.AsSpan(1024, 1024).Fill(0xAA);
        content.AsSpan(BlockBytes - 512).Fill(0xBB);
        byte[] image = new VhdxWriter { BlockBytes = BlockBytes, DiskBytes = 129L * BlockBytes, Parent = Locator(BaseId) }
            .Partial(128, content, i => i is 2 or ((BlockBytes / 512) - 1)).Build();
        using VirtualDisk disk = Vhdx.Open(image, Vhdx.Context(), Parents(parent));
        byte[] read = new byte[4096];
        disk.Content.Read(128L * BlockBytes, read);
        Assert.Equal([.. new byte[1024], .. Enumerable.Repeat((byte)0xAA, 512), .. new byte[4096 - 1536]], read);
        disk.Content.Read(disk.Content.Length - 4096, read);
        Assert.Equal([.. new byte[4096 - 512], .. Enumerable.Repeat((byte)0xBB, 512)], read);
    }

    internal static (string Key, string Value)[] Locator(Guid parent) => [("parent_linkage", parent.ToString("B")), ("relative_path", @".\base.vhdx")];

    internal static VhdxWriter Base(Guid id) =>
        new VhdxWriter { DataWriteGuid = id }.Block(0, 6, VhdxWriter.Noise(1, Megabyte)).Block(2, 6, VhdxWriter.Noise(2, Megabyte));

    internal static VhdxWriter Child(Guid parent) => new() { Parent = Locator(parent) };

    internal static Dictionary<string, byte[]> Parents(VhdxWriter parent) => new() { [@".\base.vhdx"] = parent.Build() };

    /// <summary>7-Zip opens the parents that lie beside the disk.</summary>
    private static void AssertEqualsSevenZip(Dictionary<string, byte[]> images, byte[] model)
    {
        using var scratch = new Scratch();
        foreach ((string path, byte[] image) in images)
        {
            File.WriteAllBytes(scratch[path[2..]], image);
        }

        Assert.True(model.AsSpan().SequenceEqual(Tool.RunRaw("7z", scratch.Folder, "x", "-so", "2.vhdx")), "7-Zip reads otherwise");
    }

    private static void AddBlock(VhdxWriter writer, int block, int layer, Random random, byte[] model)
    {
        int start = block * writer.BlockBytes;
        int length = Math.Min(writer.BlockBytes, model.Length - start);
        byte[] content = VhdxWriter.Noise(random.Next(), writer.BlockBytes);
        switch (layer == 0 ? random.Next(4) : random.Next(6))
        {
            case 0:
                writer.Block(block, 0);
                break;
            case 1:
                writer.Block(block, random.Next(1, 4));
                model.AsSpan(start, length).Clear();
                break;
            case 2 or 3:
                writer.Block(block, 6, content);
                content.AsSpan(0, length).CopyTo(model.AsSpan(start));
                break;
            default:
                int period = random.Next(1, 300);
                bool Present(int sector) => sector / period % 2 == 0;
                writer.Partial(block, content, Present);
                for (int at = 0; at < length; at += writer.SectorBytes)
                {
                    if (Present(at / writer.SectorBytes))
                    {
                        content.AsSpan(at, writer.SectorBytes).CopyTo(model.AsSpan(start + at));
                    }
                }

                break;
        }
    }
}
