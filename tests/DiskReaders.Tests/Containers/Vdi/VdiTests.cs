using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vdi;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vdi;

/// <summary>VDI files built by hand: damage first, then differencing disks held to a model of plain arrays.</summary>
public sealed class VdiTests
{
    private const int Block = 64 << 10;

    private static readonly VdiFormat Format = new();
    private static readonly byte[] First = VdiWriter.Noise(1, Block);
    private static readonly byte[] Last = VdiWriter.Noise(2, Block);
    private static readonly byte[] Expected = [.. First, .. new byte[2 * Block], .. Last[..(8 << 10)]];
    private static readonly Guid BaseId = new("0cd9f9f4-0a7d-4b7e-9f53-3f3a4d0f4e11");
    private static readonly Guid MiddleId = new("5e2d2b8c-4a55-4a5e-8a3a-0b1a3f6f7d22");

    public static TheoryData<string, int, byte[], Fault> Hostile => new()
    {
        { "signature", 64, [0], Fault.Corrupt },
        { "version 0.1", 68, [1, 0, 0, 0], Fault.Unsupported },
        { "version 2.0", 68, [0, 0, 2, 0], Fault.Unsupported },
        { "a short header", 72, [0, 1, 0, 0], Fault.Corrupt },
        { "type 0", 76, [0], Fault.Unsupported },
        { "type 5", 76, [5], Fault.Unsupported },
        { "map in the header", 340, [0, 1, 0, 0], Fault.Corrupt },
        { "map at an odd place", 340, [1, 2, 0, 0], Fault.Corrupt },
        { "map beyond the end", 340, [0xFC, 0xFF, 0xFF, 0xFF], Fault.Truncated },
        { "data over the map", 344, [0, 2, 0, 0], Fault.Corrupt },
        { "data beyond the end", 344, [0, 0, 0, 0x70], Fault.Truncated },
        { "size 0", 368, new byte[8], Fault.Corrupt },
        { "size above 512 TiB", 368, [0, 0, 0, 0, 0, 0, 4, 0], Fault.Corrupt },
        { "size above 2^63", 368, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], Fault.Corrupt },
        { "more blocks than the map", 368, [0, 0, 5, 0], Fault.Corrupt },
        { "block size 0", 376, [0, 0, 0, 0], Fault.Corrupt },
        { "block size no power of two", 376, [0, 0, 3, 0], Fault.Corrupt },
        { "block size 2 GiB", 376, [0, 0, 0, 0x80], Fault.Corrupt },
        { "huge extra", 380, [0xFF, 0xFF, 0xFF, 0xFF], Fault.Corrupt },
        { "too few blocks", 384, [3, 0, 0, 0], Fault.Corrupt },
        { "a block beyond the end", VdiWriter.MapAt, [2, 0, 0, 0], Fault.Truncated },
        { "the last block there may be", VdiWriter.MapAt, [0xFD, 0xFF, 0xFF, 0xFF], Fault.Truncated },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_bad_field_is_a_fault(string why, int at, byte[] value, Fault fault)
    {
        byte[] image = Image().Build();
        value.CopyTo(image, at);
        Assert.True(FaultOf(("disk.vdi", image)).Fault == fault, why);
    }

    [Fact]
    public void A_file_cut_within_a_block_is_truncated_and_not_zeros() =>
        Assert.Equal(Fault.Truncated, FaultOf(("disk.vdi", Image().Build()[..^(Block / 2)])).Fault);

    [Fact]
    public void A_file_cut_within_the_header_is_truncated() =>
        Assert.Equal(Fault.Truncated, FaultOf(("disk.vdi", Image().Build()[..300])).Fault);

    [Theory]
    [InlineData(0)]
    [InlineData(512)]
    [InlineData(8)]
    public void Blocks_extra_bytes_and_holes_are_read(int extraBytes) =>
        Assert.Equal(Expected, Read(("disk.vdi", new VdiWriter { ExtraBytes = extraBytes }.Block(3, Last).Block(0, First).Build())));

    [Theory]
    [InlineData(4096)]
    [InlineData(1 << 20)]
    [InlineData(4 << 20)]
    public void Blocks_may_have_any_size(int blockBytes)
    {
        byte[] content = VdiWriter.Noise(3, blockBytes);
        Assert.Equal(
            [.. content, .. new byte[blockBytes], .. content],
            Read(("disk.vdi", new VdiWriter { BlockBytes = blockBytes, DiskBytes = 3L * blockBytes }.Block(0, content).Entry(1, VdiWriter.Zero).Block(2, content).Build())));
    }

    [Fact]
    public void A_missing_parent_is_a_fault_that_names_its_uuid()
    {
        byte[] child = new VdiWriter { Type = 4, Parent = BaseId }.Block(1, First).Build();
        DiskFormatException fault = FaultOf(("leaf.vdi", child), ("base.vdi", new VdiWriter { Id = BaseId }.Build()));
        Assert.Equal(Fault.MissingParent, fault.Fault);
        Assert.Contains(BaseId.ToString("D"), fault.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_parent_with_another_uuid_is_a_fault_that_names_both()
    {
        DiskFormatException fault = FaultOf(("leaf.vdi", new VdiWriter { Type = 4, Parent = BaseId }.Build()), (NameOf(BaseId), new VdiWriter { Id = MiddleId }.Build()));
        Assert.Equal(Fault.MissingParent, fault.Fault);
        Assert.Contains(BaseId.ToString("D"), fault.Detail, StringComparison.Ordinal);
        Assert.Contains(MiddleId.ToString("D"), fault.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 1)]
    public void A_parent_written_to_since_is_read_and_told(bool changed, int gaps)
    {
        var before = Guid.NewGuid();
        byte[] parent = new VdiWriter { Id = BaseId, Modify = changed ? Guid.NewGuid() : before }.Block(0, First).Build();
        byte[] child = new VdiWriter { Type = 4, Parent = BaseId, ParentModify = before }.Block(3, Last).Build();
        var list = new GapList();
        var context = new ReadContext(new ScanBudget(1 << 20), list);
        using (var chain = new FolderChain(new Dictionary<string, byte[]> { ["leaf.vdi"] = child, [NameOf(BaseId)] = parent }, [new VdiFormat()], context))
        using (VirtualDisk disk = chain.Open("leaf.vdi"))
        {
            Assert.Equal(Expected, disk.Content.ReadAll());
        }

        Assert.Equal(gaps, list.Count);
        Assert.All(list.ToList(), g => Assert.Equal(Fault.Corrupt, g.Fault));
    }

    [Fact]
    public void A_disk_that_is_its_own_ancestor_ends() =>
        Assert.Equal(Fault.Refused, FaultOf((NameOf(BaseId), new VdiWriter { Id = BaseId, Type = 4, Parent = BaseId }.Build())).Fault);

    [Theory]
    [InlineData(0)]
    [InlineData(-Block - 512)]
    [InlineData(70 << 10)]
    public void A_chain_of_three_reads_as_its_model_in_any_slices(int baseLonger)
    {
        const int DiskBytes = 8 * Block;
        var random = new Random(5);
        byte[] model = new byte[DiskBytes];
        VdiWriter Layer(VdiWriter writer, int seed)
        {
            for (int block = 0; block < 8; block++)
            {
                Span<byte> there = model.AsSpan(block * Block, Block);
                if ((block + 1) * Block > writer.DiskBytes)
                {
                    continue;
                }

                switch (random.Next(4))
                {
                    case 0:
                        there.Clear();
                        writer.Entry(block, VdiWriter.Zero);
                        break;
                    case 1:
                        VdiWriter.Noise((seed * 10) + block, Block).CopyTo(there);
                        writer.Block(block, there.ToArray());
                        break;
                }
            }

            return writer;
        }

        (string, byte[])[] files =
        [
            (NameOf(BaseId), Layer(new VdiWriter { DiskBytes = DiskBytes + baseLonger, Id = BaseId }, 1).Build()),
            (NameOf(MiddleId), Layer(new VdiWriter { DiskBytes = DiskBytes, Id = MiddleId, Type = 4, Parent = BaseId }, 2).Build()),
            ("leaf.vdi", Layer(new VdiWriter { DiskBytes = DiskBytes, Type = 3, Parent = MiddleId, ExtraBytes = 16 }, 3).Build()),
        ];
        Array.Reverse(files);
        var budget = new ScanBudget(16 << 20);
        using (FolderChain chain = Chain(new ReadContext(budget, new GapList()), files))
        using (VirtualDisk disk = chain.Open("leaf.vdi"))
        {
            Assert.Equal(["vdi/differencing", "vdi/differencing", "vdi/dynamic"], disk.Chain.Select(c => c.Format));
            Assert.Equal(model, disk.Content.ReadAll());
            for (int i = 0; i < 2000; i++)
            {
                int at = random.Next(DiskBytes);
                byte[] slice = new byte[random.Next(Math.Min(DiskBytes - at, 200_000))];
                disk.Content.Read(at, slice);
                Assert.True(slice.AsSpan().SequenceEqual(model.AsSpan(at, slice.Length)), $"{slice.Length} bytes at {at}");
                if (!disk.Content.Locate(at, 1).IsStored)
                {
                    Assert.Equal(0, model[at]);
                }
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_disk_of_62_TB_opens_at_once_in_little_memory()
    {
        using var scratch = new Scratch();
        const long DiskBytes = 62L << 40;
        byte[] head = new VdiWriter { BlockBytes = 1 << 20, DiskBytes = DiskBytes }.Build();
        File.WriteAllBytes(scratch["disk.vdi"], head);
        var budget = new ScanBudget(2 << 20);
        using var chain = new FolderChain(scratch.Folder, [Format], new ReadContext(budget, new GapList()));
        long started = System.Diagnostics.Stopwatch.GetTimestamp();
        using VirtualDisk disk = chain.Open("disk.vdi");
        byte[] bytes = new byte[4096];
        for (long at = 0; at < DiskBytes; at += 1L << 40)
        {
            disk.Content.Read(at, bytes);
        }

        // A small part of a second on an idle machine.
        Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(started).TotalSeconds, 0, 20);
    }

    [Fact]
    public void What_is_no_vdi_is_not_recognised()
    {
        Assert.True(Format.Probe(new ImageFile("a", 0, new MemorySource(Image().Build()))));
        Assert.False(Format.Probe(new ImageFile("a", 0, new MemorySource(new byte[4096]))));
        Assert.False(Format.Probe(new ImageFile("a", 0, new MemorySource(new byte[66]))));
        Assert.False(Format.Probe(new ImageFile("a", 0, new MemorySource(Array.Empty<byte>()))));
    }

    [Fact]
    public void Damaged_dynamic_disks_give_data_or_a_fault()
    {
        const int Small = 8 << 10;
        byte[] image = new VdiWriter { BlockBytes = Small, DiskBytes = 4 * Small }.Block(2, VdiWriter.Noise(1, Small)).Block(0, VdiWriter.Noise(2, Small)).Build();
        Mutations.Check(image, (i, c) => ReadSome(c, ("disk.vdi", i)), Structures);
    }

    [Fact]
    public void Damaged_differencing_disks_give_data_or_a_fault()
    {
        const int Small = 8 << 10;
        byte[] parent = new VdiWriter { BlockBytes = Small, DiskBytes = 4 * Small, Id = BaseId }.Block(2, VdiWriter.Noise(1, Small)).Build();
        byte[] image = new VdiWriter { BlockBytes = Small, DiskBytes = 4 * Small, Type = 4, Parent = BaseId }.Block(1, VdiWriter.Noise(2, Small)).Entry(3, VdiWriter.Zero).Build();
        Mutations.Check(image, (i, c) => ReadSome(c, ("disk.vdi", i), (NameOf(BaseId), parent)), Structures);
    }

    private static (long, long)[] Structures => [(64, 20), (340, 116), (VdiWriter.MapAt, 16)];

    private static VdiWriter Image() => new VdiWriter().Block(3, Last).Block(0, First);

    private static string NameOf(Guid id) => $"{{{id:D}}}.vdi";

    private static FolderChain Chain(ReadContext context, params (string Name, byte[] Bytes)[] files) =>
        new(files.ToDictionary(f => f.Name, f => f.Bytes), [Format], context);

    private static byte[] Read(params (string Name, byte[] Bytes)[] files)
    {
        var budget = new ScanBudget(16 << 20);
        byte[] content;
        using (FolderChain chain = Chain(new ReadContext(budget, new GapList()), files))
        using (VirtualDisk disk = chain.Open(files[0].Name))
        {
            content = disk.Content.ReadAll();
        }

        Assert.Equal(0, budget.InUse);
        return content;
    }

    private static DiskFormatException FaultOf(params (string Name, byte[] Bytes)[] files)
    {
        var budget = new ScanBudget(16 << 20);
        DiskFormatException fault = Assert.Throws<DiskFormatException>(() =>
        {
            using FolderChain chain = Chain(new ReadContext(budget, new GapList()), files);
            using VirtualDisk disk = files[0].Name == "disk.vdi" ? Format.Open(chain.Image("disk.vdi"), chain, new ReadContext(budget, new GapList())) : chain.Open(files[0].Name);
            disk.Content.ReadAll();
        });
        Assert.Equal(0, budget.InUse);
        return fault;
    }

    private static void ReadSome(ReadContext context, params (string Name, byte[] Bytes)[] files)
    {
        using FolderChain chain = Chain(context, files);
        ImageFile file = chain.Image(files[0].Name);
        Format.Probe(file);
        Format.References(file);
        using VirtualDisk disk = Format.Open(file, chain, context);
        byte[] buffer = new byte[2048];
        long step = Math.Max(buffer.Length, disk.Content.Length / 64);
        for (long at = 0; at < disk.Content.Length; at += step)
        {
            try
            {
                disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Content.Length - at)));
                disk.Content.Locate(at, disk.Content.Length - at);
            }
            catch (DiskFormatException e) when (e.Structure.Length > 0)
            {
            }
        }
    }
}
