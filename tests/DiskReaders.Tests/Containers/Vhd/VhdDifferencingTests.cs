using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
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

    internal static VhdWriter Child(Guid parent, string name) => new VhdWriter { ParentId = parent, ParentName = name }.Block(1, VhdWriter.Noise(9, Block), i => i % 7 == 0);
}
