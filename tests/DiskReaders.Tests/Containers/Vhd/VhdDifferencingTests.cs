using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhd;

/// <summary>Differencing disks, which qemu-img neither makes nor reads: built from the specification and held to a model of plain arrays.</summary>
public sealed class VhdDifferencingTests
{
    private const int Block = 64 << 10;

    private static readonly Guid BaseId = new("83ED0EC3-24C8-49A6-A959-5E4BF1288BFB");
    private static readonly Guid MiddleId = new("1F4DD8F5-5D1C-4F1B-9A0F-2E6C2B0A7C11");

    [Fact]
    public void A_missing_parent_is_a_fault() =>
        Assert.Equal(Fault.MissingParent, Vhd.Fault(("leaf.vhd", Child(BaseId, "base.vhd").Build())).Fault);

    [Fact]
    public void A_parent_with_another_identity_is_a_fault_that_names_both()
    {
        var other = Guid.NewGuid();
        DiskFormatException fault = Vhd.Fault(("leaf.vhd", Child(BaseId, "base.vhd").Build()), ("base.vhd", new VhdWriter { Id = other }.Build()));
        Assert.Equal(Fault.MissingParent, fault.Fault);
        Assert.Contains(BaseId.ToString("D"), fault.Detail, StringComparison.Ordinal);
        Assert.Contains(other.ToString("D"), fault.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0u, 900_000_000u, null, 0)]
    [InlineData(900_000_000u, 0u, null, 0)]
    [InlineData(900_000_000u, 800_000_000u, null, 0)]
    [InlineData(900_000_000u, 900_000_001u, null, 0)]
    [InlineData(900_000_000u, 910_000_000u, null, 1)]
    [InlineData(1u, 800_000_000u, null, 1)]
    [InlineData(900_000_000u, 800_000_000u, 900_000_000L, 0)]
    [InlineData(900_000_000u, 800_000_000u, 910_000_000L, 0)]
    [InlineData(900_000_000u, 800_000_000u, 890_000_000L, 1)]
    [InlineData(uint.MaxValue, 800_000_000u, 890_000_000L, 1)]
    public void A_parent_that_cannot_be_as_it_was_is_read_and_told(uint noted, uint made, long? written, int gaps)
    {
        byte[] parent = new VhdWriter { Id = BaseId, TimeStamp = made }.Block(0, VhdWriter.Noise(3, Block)).Build();
        byte[] child = new VhdWriter { ParentId = BaseId, ParentName = "base.vhd", ParentTimeStamp = noted }.Build();
        var list = new GapList();
        var context = new ReadContext(new ScanBudget(16 << 20), list);
        using var chain = new FolderChain(new Dictionary<string, byte[]>(), [Vhd.Format], context);
        var dated = new Dated(chain, new ImageFile("base.vhd", 1, new MemorySource(parent)) { Modified = written is { } s ? new DateTimeOffset(2000, 1, 1, 0, 0, 0, TimeSpan.Zero).AddSeconds(s) : null }, context);
        using (VirtualDisk disk = Vhd.Format.Open(Vhd.File(child), dated, context))
        {
            Assert.Equal(VhdWriter.Noise(3, Block), disk.Content.ReadAll()[..Block]);
        }

        Assert.Equal(gaps, list.Count);
        Assert.All(list.ToList(), g => Assert.Equal(Fault.Corrupt, g.Fault));
    }

    [Fact]
    public void A_raw_parent_of_Xen_has_no_identity_and_is_not_probed()
    {
        byte[] raw = new VhdWriter { Id = BaseId }.Block(0, VhdWriter.Noise(3, Block)).Build();
        byte[] child = new VhdWriter { Creator = "tap\0", ParentId = Guid.Empty, ParentName = "base" }.Build();
        ImageReference reference = Assert.Single(Vhd.Format.References(Vhd.File(child)));
        Assert.Equal("raw", reference.Format);
        var context = new ReadContext(new ScanBudget(16 << 20), new GapList());
        using var chain = new FolderChain(new Dictionary<string, byte[]> { ["base"] = raw }, [Vhd.Format, new RawFormat()], context);
        using VirtualDisk disk = Vhd.Format.Open(Vhd.File(child), chain, context);
        Assert.Equal(raw, disk.Content.ReadAll()[..raw.Length]);

        // Of any other writer an id of zeros is an id like any other.
        byte[] other = new VhdWriter { ParentId = Guid.Empty, ParentName = "base" }.Build();
        Assert.Equal(Fault.MissingParent, Vhd.Fault(("leaf.vhd", other), ("base", raw)).Fault);
    }

    [Fact]
    public void A_chain_equals_what_libvhdi_reads()
    {
        // Its version of 2021 takes the rest of a bitmap's byte for set once a bit is, so that the sectors come in eights here.
        using var scratch = new Scratch();
        byte[] Relative(string name) => Encoding.Unicode.GetBytes(name);
        File.WriteAllBytes(scratch["base.vhd"], new VhdWriter { Id = BaseId }.Block(0, VhdWriter.Noise(1, Block)).Block(2, VhdWriter.Noise(2, Block)).Build());
        File.WriteAllBytes(scratch["middle.vhd"], new VhdWriter { Id = MiddleId, ParentId = BaseId, ParentName = "base.vhd", Locators = [("W2ru", Relative("base.vhd"))] }
            .Block(0, VhdWriter.Noise(3, Block), i => i / 8 % 3 == 0).Block(3, VhdWriter.Noise(4, Block), i => i / 8 % 8 < 2).Build());
        File.WriteAllBytes(scratch["leaf.vhd"], new VhdWriter { ParentId = MiddleId, ParentName = "middle.vhd", Locators = [("W2ru", Relative("middle.vhd"))] }
            .Block(0, VhdWriter.Noise(5, Block), i => i / 8 % 5 == 0).Block(1, VhdWriter.Noise(6, Block), i => i >= 96).Block(2, VhdWriter.Noise(7, Block), i => i < 8).Build());
        Assert.Contains($"Parent identifier\t: {MiddleId:D}", Tool.Run("vhdiinfo", scratch["leaf.vhd"]), StringComparison.Ordinal);
        // The images of a chain appear base first.
        Tool.Find("vhdimount");
        Tool.Shell("mkdir mnt; vhdimount leaf.vhd mnt > /dev/null; trap 'umount mnt' EXIT; cat mnt/vhdi3 > expected", scratch.Folder);
        string[] names = ["leaf.vhd", "middle.vhd", "base.vhd"];
        Assert.Equal(File.ReadAllBytes(scratch["expected"]), Vhd.Read([.. names.Select(n => (n, File.ReadAllBytes(scratch[n])))]));
    }

    [Fact]
    public void A_disk_that_is_its_own_ancestor_ends() =>
        Assert.Equal(Fault.Refused, Vhd.Fault(("leaf.vhd", Child(BaseId, "b.vhd").Build()), ("b.vhd", new VhdWriter { Id = BaseId, ParentId = BaseId, ParentName = "b.vhd" }.Build())).Fault);

    [Fact]
    public void Every_kind_of_locator_is_a_candidate_and_what_is_relative_comes_first()
    {
        byte[] alias = new byte[150];
        alias[7] = 2;
        alias[50] = 8;
        "mac.vhd?"u8.CopyTo(alias.AsSpan(51));
        byte[] image = new VhdWriter
        {
            ParentId = BaseId,
            ParentName = "name.vhd",
            Locators =
            [
                ("W2ku", Encoding.Unicode.GetBytes(@"C:\vm\abs.vhd")), ("MacX", "file://localhost/vm/a%20b.vhd"u8.ToArray()), ("Wi2k", @"D:\old.vhd"u8.ToArray()),
                ("Wi2r", @".\old.vhd"u8.ToArray()), ("W2ru", Encoding.Unicode.GetBytes(".\\rel.vhd\0")), ("Mac ", alias), ("MacX", "file://./xen.vhd"u8.ToArray()),
                ("what", new byte[3]),
            ],
        }.Build();
        ImageReference reference = Assert.Single(Vhd.Format.References(Vhd.File(image)));
        Assert.Equal(ReferenceKind.Parent, reference.Kind);
        Assert.Equal(
            [@".\old.vhd", @".\rel.vhd", "mac.vhd?", "./xen.vhd", "name.vhd", @"C:\vm\abs.vhd", "file://localhost/vm/a b.vhd", @"D:\old.vhd"],
            reference.Candidates);
        Assert.Empty(Vhd.Format.References(Vhd.File(new VhdWriter().Build())));
    }

    [Fact]
    public void A_locator_beyond_the_file_or_no_name_at_all_is_a_fault()
    {
        byte[] image = new VhdWriter { ParentId = BaseId, Locators = [("W2ru", new byte[8])] }.Build();
        Assert.Equal(Fault.Corrupt, Vhd.Fault(("leaf.vhd", image)).Fault);
        VhdWriter.U64(image, 512 + 592, 1 << 30);
        VhdWriter.Repair(image);
        Assert.Equal(Fault.Truncated, Vhd.Fault(("leaf.vhd", image)).Fault);
        VhdWriter.U32(image, 512 + 584, uint.MaxValue);
        VhdWriter.Repair(image);
        Assert.Equal(Fault.Corrupt, Vhd.Fault(("leaf.vhd", image)).Fault);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-Block - 512)]
    [InlineData(70 << 10)]
    public void A_chain_of_three_reads_as_its_model_in_any_slices(int baseLonger)
    {
        const int DiskBytes = 4 * Block;
        var random = new Random(7);
        byte[] model = new byte[DiskBytes];
        VhdWriter Layer(VhdWriter writer, int seed)
        {
            for (int block = 0; block < 4; block++)
            {
                if (random.Next(3) == 0 || (block + 1) * Block > writer.DiskBytes)
                {
                    continue;
                }

                byte[] content = VhdWriter.Noise((seed * 10) + block, Block);
                bool[] present = [.. Enumerable.Range(0, Block / 512).Select(_ => random.Next(2) == 0)];
                writer.Block(block, content, i => present[i]);
                for (int i = 0; i < present.Length; i++)
                {
                    if (present[i])
                    {
                        content.AsSpan(i * 512, 512).CopyTo(model.AsSpan((block * Block) + (i * 512)));
                    }
                }
            }

            return writer;
        }

        (string, byte[])[] files =
        [
            ("base.vhd", Layer(new VhdWriter { DiskBytes = DiskBytes + baseLonger, Id = BaseId }, 1).Build()),
            ("middle.avhd", Layer(new VhdWriter { DiskBytes = DiskBytes, Id = MiddleId, ParentId = BaseId, ParentName = "base.vhd" }, 2).Build()),
            ("leaf.vud", Layer(new VhdWriter { DiskBytes = DiskBytes, ParentId = MiddleId, ParentName = "middle.avhd" }, 3).Build()),
        ];
        Array.Reverse(files);
        var budget = new ScanBudget(16 << 20);
        using (VirtualDisk disk = Vhd.Open(new ReadContext(budget, new GapList()), out FolderChain chain, files))
        using (chain)
        {
            Assert.Equal(["vhd/differencing", "vhd/differencing", "vhd/dynamic"], disk.Chain.Select(c => c.Format));
            Assert.Equal(model, disk.Content.ReadAll());
            for (int i = 0; i < 2000; i++)
            {
                int at = random.Next(DiskBytes);
                byte[] slice = new byte[random.Next(Math.Min(DiskBytes - at, 9000))];
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

    private sealed class Dated(FolderChain chain, ImageFile parent, ReadContext context) : IChainOpener
    {
        public ImageFile OpenExtent(ImageFile from, ImageReference reference) => chain.OpenExtent(from, reference);

        public VirtualDisk OpenParent(ImageFile from, ImageReference reference) => Vhd.Format.Open(parent, chain, context);

        public IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload) => chain.OpenLuks(header, payload);
    }

    internal static VhdWriter Child(Guid parent, string name) => new VhdWriter { ParentId = parent, ParentName = name }.Block(1, VhdWriter.Noise(9, Block), i => i % 7 == 0);
}
