using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Qcow2;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Qcow2;

/// <summary>States that an image keeps inside: tables that lie, and those of qemu-img read as qemu-img reads them.</summary>
public sealed class Qcow2SnapshotTests
{
    private const int TableAt = 10 * Qcow2Writer.Cluster;
    private const int SecondL1At = 20 * Qcow2Writer.Cluster;
    private const int SecondL2At = 21 * Qcow2Writer.Cluster;

    private static readonly Qcow2Format Format = new();

    [Theory]
    [InlineData(12, 0xFFFF_0000u, Fault.Truncated)]
    [InlineData(36, 1025u, Fault.Corrupt)]
    [InlineData(36, 0xFFFF_FFFFu, Fault.Corrupt)]
    public void A_table_that_cannot_be_listed_is_a_fault(int at, uint value, Fault fault)
    {
        byte[] image = Qcow2Writer.U32(Image(), TableAt + at, value);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Format.Snapshots(File(image))).Fault);
        Assert.NotEmpty(Qcow2.All(("d", image)));
    }

    [Fact]
    public void Ids_and_names_are_bounded()
    {
        byte[] image = new byte[8 << 20];
        Image(extra: 0).CopyTo(image, 0);
        Qcow2Writer.U32(image, 60, 60);
        for (long at = TableAt, i = 0; i < 60; i++, at += 40 + (2 * 65_528))
        {
            Qcow2Writer.U32(image, (int)at + 12, 0xFFF8_FFF8);
        }

        Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => Format.Snapshots(File(image))).Fault);
    }

    [Theory]
    [InlineData(0, 0x8000_0000u, Fault.Corrupt)]
    [InlineData(0, 0x0000_1000u, Fault.Truncated)]
    [InlineData(4, 4097u, Fault.Corrupt)]
    [InlineData(8, 0u, Fault.Corrupt)]
    [InlineData(8, 0xFFFF_FFFFu, Fault.Limit)]
    [InlineData(48, 0x8000_0000u, Fault.Corrupt)]
    [InlineData(48, 0x7FFF_FFFFu, Fault.Corrupt)]
    public void A_state_that_lies_is_refused_and_the_others_are_read(int at, uint value, Fault fault)
    {
        byte[] image = Qcow2Writer.U32(Image(), TableAt + at, value);
        Assert.Equal(["1"], Format.Snapshots(File(image)).Select(s => s.Id));
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Read(image, "1")).Fault);
        Assert.NotEmpty(Qcow2.All(("d", image)));
    }

    [Fact]
    public void A_state_that_is_not_there_is_never_the_current_one() =>
        Assert.Equal(Fault.MissingParent, Assert.Throws<DiskFormatException>(() => Read(Image(), "2")).Fault);

    [Fact]
    public void A_state_has_tables_and_a_size_of_its_own()
    {
        byte[] image = Image();
        Assert.Equal([.. Qcow2Writer.Noise(2), .. new byte[512]], Read(image, "1"));
        ImageSnapshot snapshot = Assert.Single(Format.Snapshots(File(image)));
        Assert.Equal(new ImageSnapshot("1", "name", DateTimeOffset.FromUnixTimeSeconds(1_700_000_000)), snapshot);

        // Without extra data, as QEMU before 1.1 wrote it, the state is as large as the disk is now.
        byte[] old = Image(extra: 0);
        Assert.Equal([.. Qcow2Writer.Noise(2), .. new byte[3584]], Read(old, "1"));
    }

    [Theory]
    [InlineData("compat=0.10")]
    [InlineData("compat=1.1")]
    [InlineData("cluster_size=512")]
    [InlineData("extended_l2=on,cluster_size=16k")]
    public void States_of_a_chain_and_of_other_sizes_equal_those_of_qemu(string options)
    {
        using var scratch = new Scratch();
        bool resizes = !options.Contains("0.10", StringComparison.Ordinal);
        Tool.Shell(
            $"""
            head -c 3M /dev/urandom > base
            qemu-img create -q -f qcow2 -o {options} -b base -F raw d.qcow2 5M
            qemu-io -c 'write -P 1 1M 300k' -c 'write -z 2M 1M' d.qcow2 > /dev/null; qemu-img snapshot -c 'état 1' d.qcow2
            {(resizes ? "qemu-img resize -q d.qcow2 9M" : "")}
            qemu-io -c 'write -P 2 0 2M' -c 'write -P 3 4M 1M' d.qcow2 > /dev/null; qemu-img snapshot -c two d.qcow2
            qemu-img snapshot -c three d.qcow2; qemu-img snapshot -d 'two' d.qcow2
            qemu-io -c 'write -P 4 0 5M' d.qcow2 > /dev/null
            qemu-img convert -l snapshot.name='état 1' -O raw d.qcow2 1.raw; qemu-img convert -l snapshot.name=three -O raw d.qcow2 3.raw
            """,
            scratch.Folder);
        IReadOnlyList<ImageSnapshot> listed = [];
        Qcow2.InFolder(scratch.Folder, chain => listed = Format.Snapshots(chain.Image("d.qcow2")), (_, _) => { });
        Assert.Equal([("1", "état 1"), ("3", "three")], listed.Select(s => (s.Id, s.Name)));
        foreach (ImageSnapshot snapshot in listed)
        {
            Qcow2.InFolder(scratch.Folder, _ => { }, (chain, context) =>
            {
                using VirtualDisk disk = Format.OpenSnapshot(chain.Image("d.qcow2"), snapshot.Id, chain, context);
                Assert.Equal(["d.qcow2", "base"], disk.Chain.Select(l => l.Path));

                // QEMU shows a state in the size that the disk has now; going back to it gives it its own size.
                using var expected = new FileSource(scratch[snapshot.Id + ".raw"]);
                Assert.Equal(snapshot.Id == "1" || !resizes ? 5 << 20 : 9 << 20, disk.Content.Length);
                Assert.Equal(expected.Sha256(limit: disk.Content.Length), disk.Content.Sha256(step: 1_000_003));
            });
        }
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_tables_give_data_or_a_fault() => Mutations.Check(
        Image(),
        (bytes, context) =>
        {
            ImageFile file = File(bytes);
            foreach (ImageSnapshot snapshot in Format.Snapshots(file))
            {
                using var chain = new FolderChain(new Dictionary<string, byte[]>(), Qcow2.Formats, context);
                using VirtualDisk disk = Format.OpenSnapshot(file, snapshot.Id, chain, context);
                disk.Content.Read(0, new byte[Math.Min(disk.Content.Length, 4096)]);
            }
        },
        [(60, 12), (TableAt, 72), (TableAt, 72), (SecondL1At, 8), (SecondL2At, 16)]);

    private static ImageFile File(byte[] image) => new("d", 0, new MemorySource(image));

    private static byte[] Read(byte[] image, string id)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        try
        {
            using var chain = new FolderChain(new Dictionary<string, byte[]>(), Qcow2.Formats, context);
            using VirtualDisk disk = Format.OpenSnapshot(File(image), id, chain, context);
            return disk.Content.ReadAll();
        }
        finally
        {
            Assert.Equal(0, context.Budget.InUse);
        }
    }

    /// <summary>A disk of eight clusters with a state of two: its first cluster holds other bytes.</summary>
    private static byte[] Image(uint extra = 16)
    {
        byte[] image = new Qcow2Writer().Data(0, Qcow2Writer.Noise(1)).Data(1, Qcow2Writer.Noise(2)).Build();
        Qcow2Writer.U32(image, 60, 1);
        Qcow2Writer.U64(image, 64, TableAt);
        Qcow2Writer.U64(image, TableAt, SecondL1At);
        Qcow2Writer.U32(image, TableAt + 8, 1);
        BinaryPrimitives.WriteUInt16BigEndian(image.AsSpan(TableAt + 12), 1);
        BinaryPrimitives.WriteUInt16BigEndian(image.AsSpan(TableAt + 14), 4);
        Qcow2Writer.U32(image, TableAt + 16, 1_700_000_000);
        Qcow2Writer.U32(image, TableAt + 36, extra);
        Qcow2Writer.U64(image, TableAt + 48, 2 * Qcow2Writer.Cluster);
        "1name\0\0\0\0\0\0\0\0\0"u8.CopyTo(image.AsSpan(TableAt + 40 + (int)extra));
        Qcow2Writer.U64(image, SecondL1At, SecondL2At);
        Qcow2Writer.U64(image, SecondL2At, Qcow2Writer.DataAt + Qcow2Writer.Cluster);
        return image;
    }
}
