using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Xva;
using Vmsweep.DiskReaders.Tests.Containers.Ova;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Xva;

public sealed class XvaTests
{
    private const int Chunk = XvaWriter.Chunk;

    private static readonly byte[] One = [.. Enumerable.Range(0, Chunk).Select(i => (byte)(i * 7 / 3))];

    public static TheoryData<string, byte[], Fault> Hostile()
    {
        byte[] head = XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", 3 * Chunk, 0)));
        return new TheoryData<string, byte[], Fault>
        {
            { "no chunk at all", TarWriter.Archive(head), Fault.MissingParent },
            { "a chunk twice", TarWriter.Archive(head, XvaWriter.ChunkOf("Ref:4", 0, One), XvaWriter.ChunkOf("Ref:4", 0, One)), Fault.Corrupt },
            { "chunks in no order", TarWriter.Archive(head, XvaWriter.ChunkOf("Ref:4", 2, One), XvaWriter.ChunkOf("Ref:4", 1, One)), Fault.Corrupt },
            { "a chunk beyond the end", TarWriter.Archive(head, XvaWriter.ChunkOf("Ref:4", 3, One)), Fault.Corrupt },
            { "a chunk of a number that is none", TarWriter.Archive(head, TarWriter.Member("Ref:4/../../etc", One)), Fault.Corrupt },
            { "a chunk of a huge number", TarWriter.Archive(head, TarWriter.Member("Ref:4/99999999999999999999", One)), Fault.Corrupt },
            { "a short chunk in the middle", TarWriter.Archive(head, XvaWriter.ChunkOf("Ref:4", 1, One[..1000])), Fault.Corrupt },
            { "a folder of no archive", new byte[4096], Fault.Corrupt },
            { "another first member", TarWriter.Archive(TarWriter.Member("x.ovf", [])), Fault.Corrupt },
            { "no XML", TarWriter.Archive(XvaWriter.First("hello")), Fault.Corrupt },
            { "XML of something else", TarWriter.Archive(XvaWriter.First("<a><b/></a>")), Fault.Corrupt },
            { "XenServer 3", TarWriter.Archive(XvaWriter.First("<appliance version=\"0.1\"/>")), Fault.Unsupported },
            { "entities", TarWriter.Archive(XvaWriter.First("<!DOCTYPE a [<!ENTITY b \"cccc\"><!ENTITY d \"&b;&b;&b;\">]><value>&d;</value>")), Fault.Corrupt },
            { "values without end", TarWriter.Archive(XvaWriter.First(string.Concat(Enumerable.Repeat("<value><array><data>", 5000)))), Fault.Limit },
            { "a document that is cut off", TarWriter.Archive(XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", Chunk, 0))[..400])), Fault.Corrupt },
            { "a negative size", TarWriter.Archive(XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", -5, 0)))), Fault.Corrupt },
            { "gzip", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0], Fault.Unsupported },
            { "zstd", [0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0, 0, 0], Fault.Unsupported },
        };
    }

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_faulty_export_is_a_fault_with_its_reason(string what, byte[] bytes, Fault fault)
    {
        Assert.NotEmpty(what);
        var budget = new ScanBudget(64 << 20);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Open(bytes, "Ref:4", new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_size_of_exabytes_takes_no_memory()
    {
        byte[] bytes = TarWriter.Archive(XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", long.MaxValue, 0))), XvaWriter.ChunkOf("Ref:4", 0, One), XvaWriter.ChunkOf("Ref:4", uint.MaxValue, One));
        var budget = new ScanBudget(1 << 20);
        using VirtualDisk disk = Open(bytes, "Ref:4", new ReadContext(budget, new GapList()));
        byte[] read = new byte[16];
        disk.Content.Read(((long)uint.MaxValue * Chunk) + 5, read);
        Assert.Equal(One[5..21], read);
        disk.Content.Read(long.MaxValue - 20, read);
        Assert.Equal(new byte[16], read);
    }

    [Fact]
    public void Chunks_that_are_left_out_are_zeros_and_are_not_stored()
    {
        byte[] bytes = TarWriter.Archive(
            XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", (4 * Chunk) - 100, 0))),
            XvaWriter.ChunkOf("Ref:4", 1, One),
            XvaWriter.ChunkOf("Ref:4", 3, One[..^100], ".checksum"));
        var gaps = new GapList();
        using VirtualDisk disk = Open(bytes, "Ref:4", new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Equal((byte[])[.. new byte[Chunk], .. One, .. new byte[Chunk], .. One[..^100]], disk.Content.ReadAll());
        Assert.False(disk.Content.Locate(0, 100).IsStored);
        Assert.Equal(Chunk, disk.Content.HoleLength(0, 4 * Chunk));
        Assert.Empty(gaps.ToList());
    }

    [Fact]
    public void What_lies_behind_the_end_of_an_archive_that_is_cut_off_is_a_fault_and_no_zeros()
    {
        byte[] bytes = TarWriter.Archive(
            XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", 4 * Chunk, 0), ("Ref:5", 4 * Chunk, 1))),
            XvaWriter.ChunkOf("Ref:4", 0, One),
            XvaWriter.ChunkOf("Ref:5", 0, One),
            XvaWriter.ChunkOf("Ref:5", 2, One));
        var gaps = new GapList();
        using VirtualDisk cut = Open(bytes[..^(Chunk + 3000)], "Ref:5", new ReadContext(new ScanBudget(64 << 20), gaps));
        byte[] read = new byte[Chunk];
        cut.Content.Read(0, read);
        Assert.Equal(One, read);
        Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => cut.Content.Read(Chunk, read)).Fault);
        Assert.True(cut.Content.Locate(Chunk, 5).IsStored);
        Assert.Equal(Fault.Truncated, Assert.Single(gaps.ToList()).Fault);

        // The disk before it is whole.
        using VirtualDisk whole = Open(bytes[..^(Chunk + 3000)], "Ref:4", new ReadContext(new ScanBudget(64 << 20), new GapList()));
        whole.Content.Read(3 * Chunk, read);
        Assert.Equal(new byte[Chunk], read);
    }

    [Fact]
    public void Disks_come_by_device_and_drives_for_CDs_are_none()
    {
        byte[] bytes = TarWriter.Archive(XvaWriter.First(XvaWriter.Descriptor("web &amp; mail", ("Ref:7", 1, 3), ("Ref:5", 2, 0), ("Ref:6", 3, 1))));
        BundleHead head = new XvaFormat().Head(new ImageFile("x.xva", 0, new MemorySource(bytes)));
        Assert.Equal("web & mail", head.VmName);
        Assert.Equal(["Ref:5", "Ref:6", "Ref:7"], head.Disks);
    }

    [Fact]
    public void Bytes_of_no_disk_are_a_gap()
    {
        byte[] bytes = TarWriter.Archive(XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", Chunk, 0))), XvaWriter.ChunkOf("Ref:4", 0, One), XvaWriter.ChunkOf("Ref:9", 0, One));
        var gaps = new GapList();
        using VirtualDisk disk = Open(bytes, "Ref:4", new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Contains("Ref:9", Assert.Single(gaps.ToList()).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_export_made_with_tar_equals_the_disk_that_it_was_made_of()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["ova.xml"], XvaWriter.Descriptor("vm", ("Ref:4", (20 << 20) + 512, 0)));
        Tool.Shell("""
            truncate -s 20972032 raw; mke2fs -q -F -t ext4 raw; head -c 3000000 /dev/urandom | dd of=raw seek=9000000 conv=notrunc status=none iflag=fullblock bs=1M oflag=seek_bytes
            mkdir Ref:4; split -b 1M -d -a 8 raw Ref:4/
            for f in Ref:4/*; do if [ $f != Ref:4/00000000 ] && [ $f != Ref:4/00000020 ] && cmp -s $f <(head -c $(stat -c %s $f) /dev/zero); then rm $f; else sha1sum $f | cut -c -40 | tr -d '\n' > $f.checksum; fi; done
            tar --format=ustar -cf x.xva ova.xml $(ls Ref:4/* | sort)
            """, scratch.Folder);
        using var file = new FileSource(scratch["x.xva"], 3);
        var image = new ImageFile("x.xva", 3, file);
        Assert.True(new XvaFormat().Probe(image));
        var budget = new ScanBudget(64 << 20);
        var gaps = new GapList();
        using (VirtualDisk disk = new XvaFormat().Open(image, new FolderChain((_, _) => null, [], new ReadContext(budget, gaps)), new ReadContext(budget, gaps)))
        {
            Assert.Equal(Content.Sha256OfFile(scratch["raw"]), disk.Content.Sha256(step: 300_001));
            disk.Content.CheckSlices(File.ReadAllBytes(scratch["raw"]));
            Assert.Contains(Enumerable.Range(0, 20), i => !disk.Content.Locate((long)i << 20, 1).IsStored);
        }

        Assert.Empty(gaps.ToList());
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void Two_TiB_without_a_hole_take_less_than_64_MiB()
    {
        const int Chunks = 2 << 20;
        var budget = new ScanBudget(64 << 20);
        using var table = new ChunkTable(new ReadContext(budget, new GapList()));
        for (uint i = 0; i < Chunks; i++)
        {
            table.Add(i, (i + 1L) * (Chunk + 2048));
        }

        Assert.InRange(budget.InUse, 1, 32 << 20);
        Assert.Equal(1_234_567, table.Find(1_234_567));
        Assert.Equal(Chunks, table.Find(uint.MaxValue));
    }

    [Fact]
    public void Mutated_exports_give_data_or_a_fault()
    {
        byte[] head = XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", 700, 0), ("Ref:5", 5000, 1)));
        byte[] bytes = TarWriter.Archive(head, XvaWriter.ChunkOf("Ref:4", 0, One[..700]), XvaWriter.ChunkOf("Ref:5", 0, One[..5000]));
        Mutations.Check(bytes, Read, [(0, head.Length + 512)], Mutations.PerFormat, repair: TarWriter.Repair);
    }

    internal static void Read(byte[] bytes, ReadContext context)
    {
        var image = new ImageFile("x.xva", 0, new MemorySource(bytes));
        new XvaFormat().Probe(image);
        foreach (string name in new XvaFormat().Head(image).Disks)
        {
            using VirtualDisk disk = Open(bytes, name, context);
            byte[] part = new byte[(int)Math.Min(disk.Content.Length, 8192)];
            disk.Content.Locate(0, disk.Content.Length);
            disk.Content.Read(disk.Content.Length - part.Length, part);
            disk.Content.Read(0, part);
        }
    }

    private static VirtualDisk Open(byte[] bytes, string disk, ReadContext context) =>
        new XvaFormat().OpenDisk(new ImageFile("x.xva", 0, new MemorySource(bytes)), disk, new FolderChain((_, _) => null, [], context), context);
}
