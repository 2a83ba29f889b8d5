using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vma;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vma;

public sealed class VmaTests
{
    private const int Cluster = VmaWriter.Cluster;
    private const int Extent = VmaWriter.HeaderBytes;

    private static readonly byte[] Full = Noise(1, 0xFFFF);
    private static readonly byte[] Odd = Noise(2, 0b0101_1000_0000_1110);

    public static TheoryData<string, Action<byte[]>, Fault> HostileHeads() => new()
    {
        { "another magic", b => b[0] = (byte)'X', Fault.Corrupt },
        { "another version", b => VmaWriter.U32(b, 4, 2), Fault.Unsupported },
        { "a header smaller than its fixed part", b => VmaWriter.U32(b, 56, 4096), Fault.Corrupt },
        { "a header of an odd size", b => VmaWriter.U32(b, 56, 12_801), Fault.Corrupt },
        { "a header of gigabytes", b => VmaWriter.U32(b, 56, 0xFFFF_FE00), Fault.Limit },
        { "a header beyond the end", b => VmaWriter.U32(b, 56, 32 << 20), Fault.Truncated },
        { "blobs before the buffer", b => VmaWriter.U32(b, 48, 0), Fault.Corrupt },
        { "blobs beyond the buffer", b => VmaWriter.U32(b, 52, 0xFFFF_FFFF), Fault.Corrupt },
        { "a device whose name lies elsewhere", b => VmaWriter.U32(b, 4096 + 32, 5000), Fault.Corrupt },
        { "a device of more than 63 bits", b => b[4096 + 32 + 8] = 0xFF, Fault.Corrupt },
        { "two devices of one name", b => b.AsSpan(4096 + 32, 32).CopyTo(b.AsSpan(4096 + (5 * 32))), Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(HostileHeads))]
    public void A_faulty_header_is_a_fault_with_its_reason(string what, Action<byte[]> damage, Fault fault)
    {
        Assert.NotEmpty(what);
        byte[] bytes = Sample();
        damage(bytes);
        if (!what.Contains("header", StringComparison.Ordinal))
        {
            VmaWriter.Repair(bytes);
        }

        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Head(bytes)).Fault);
    }

    [Fact]
    public void A_header_whose_sum_differs_is_corrupt()
    {
        byte[] bytes = Sample();
        bytes[100] ^= 1;
        Assert.Equal(Fault.Corrupt, Assert.Throws<DiskFormatException>(() => Head(bytes)).Fault);
    }

    public static TheoryData<string, Action<byte[]>, bool> HostileExtents() => new()
    {
        { "a bad sum", b => b[Extent + 30] ^= 1, false },
        { "another magic", b => b[Extent] = 0, false },
        { "another archive's uuid", b => b[Extent + 8] ^= 1, false },
        { "more blocks than its masks say", b => b[Extent + 7]++, true },
        { "a cluster beyond the device", b => VmaWriter.U32(b, Extent + 44, 0x7FFF_FFFF), true },
        { "a cluster twice", b => VmaWriter.U32(b, Extent + 44, 0), true },
    };

    [Theory]
    [MemberData(nameof(HostileExtents))]
    public void A_faulty_extent_is_a_fault_or_ends_what_is_known(string what, Action<byte[]> damage, bool isFatal)
    {
        Assert.NotEmpty(what);
        byte[] bytes = Sample();
        damage(bytes);
        if (what != "a bad sum")
        {
            VmaWriter.Repair(bytes);
        }

        var budget = new ScanBudget(16 << 20);
        var gaps = new GapList();
        if (isFatal)
        {
            Assert.Equal(Fault.Corrupt, Assert.Throws<DiskFormatException>(() => Open(bytes, "drive-scsi0", new ReadContext(budget, gaps))).Fault);
        }
        else
        {
            using VirtualDisk disk = Open(bytes, "drive-scsi0", new ReadContext(budget, gaps));
            Assert.Equal(Fault.Corrupt, Assert.Single(gaps.ToList()).Fault);
            Assert.Equal(Fault.Corrupt, Assert.Throws<DiskFormatException>(() => disk.Content.Read(0, new byte[10])).Fault);
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_cluster_that_the_archive_lacks_is_a_fault_and_no_zeros()
    {
        byte[] bytes = new VmaWriter().Device(1, "drive-scsi0", 3 * Cluster).Extent((1, 0, Full), (1, 2, Full)).Build();
        using VirtualDisk disk = Open(bytes, "drive-scsi0", new ReadContext(new ScanBudget(16 << 20), new GapList()));
        byte[] read = new byte[Cluster];
        disk.Content.Read(2 * Cluster, read);
        Assert.Equal(Full, read);
        Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => disk.Content.Read(Cluster, read)).Fault);
    }

    [Fact]
    public void An_archive_that_is_cut_off_gives_the_clusters_that_are_there()
    {
        byte[] bytes = Sample();
        var gaps = new GapList();
        using VirtualDisk disk = Open(bytes[..^(Cluster / 2)], "drive-virtio1", new ReadContext(new ScanBudget(16 << 20), gaps));
        Assert.Equal(Fault.Truncated, Assert.Single(gaps.ToList()).Fault);
        Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => disk.Content.ReadAll()).Fault);
    }

    [Fact]
    public void The_head_tells_the_VM_and_its_disks_without_its_memory()
    {
        BundleHead head = Head(Sample());
        Assert.Equal("web01", head.VmName);
        Assert.Equal("l26", head.GuestOs);
        Assert.Equal(["drive-scsi0", "drive-virtio1"], head.Disks);
    }

    [Fact]
    public void Disks_are_their_clusters_in_order_whatever_order_they_were_written_in()
    {
        var budget = new ScanBudget(16 << 20);
        var gaps = new GapList();
        using (VirtualDisk disk = Open(Sample(), "drive-scsi0", new ReadContext(budget, gaps)))
        {
            Assert.Equal((byte[])[.. Odd, .. Full, .. new byte[Cluster], .. Full[..5000]], disk.Content.ReadAll());
            Assert.Equal(disk.Content.Sha256(), disk.Content.Sha256(step: 3001));
            Assert.False(disk.Content.Locate(0, 100).IsStored);
            Assert.Equal(3 * 4096, disk.Content.Locate(4096, Cluster).Length);
        }

        Assert.Empty(gaps.ToList());
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_disk_of_a_real_file_system_equals_its_source()
    {
        using var scratch = new Scratch();
        Tool.Shell("truncate -s 20000000 raw; mke2fs -q -F -t ext4 raw; head -c 2000000 /dev/urandom | dd of=raw bs=64K seek=100 conv=notrunc status=none iflag=fullblock", scratch.Folder);
        byte[] raw = File.ReadAllBytes(scratch["raw"]);
        var writer = new VmaWriter().Device(1, "drive-scsi0", raw.Length);
        uint[] order = [.. Enumerable.Range(0, (raw.Length + Cluster - 1) / Cluster).Select(i => (uint)i)];
        new Random(1).Shuffle(order);
        foreach (uint[] part in order.Chunk(59))
        {
            writer.Extent([.. part.Select(n => (1, n, Padded(raw, (int)n)))]);
        }

        using VirtualDisk disk = Open(writer.Build(), "drive-scsi0", new ReadContext(new ScanBudget(16 << 20), new GapList()));
        Assert.Equal(Content.Sha256OfFile(scratch["raw"]), disk.Content.Sha256(step: 100_001));
        disk.Content.CheckSlices(raw);
    }

    [Fact]
    public void Mutated_archives_give_data_or_a_fault() =>
        Mutations.Check(
            new VmaWriter().Config("qemu-server.conf", "name: a\n").Device(1, "drive-scsi0", 3 * Cluster).Extent((1, 1, Noise(3, 0b11)), (1, 0, new byte[Cluster])).Extent((1, 2, Noise(4, 0b1000))).Build(),
            Read,
            [(0, 64), (2044, 8), (3068, 8), (4096, 96), (12_288, 60), (Extent, 64), (Extent + 512 + 8192, 64)],
            Mutations.PerFormat,
            repair: VmaWriter.Repair);

    internal static void Read(byte[] bytes, ReadContext context)
    {
        var image = new ImageFile("x.vma", 0, new MemorySource(bytes));
        new VmaFormat().Probe(image);
        byte[] part = new byte[4096];
        foreach (string name in new VmaFormat().Head(image).Disks)
        {
            using VirtualDisk disk = Open(bytes, name, context);
            for (long at = 0; at < disk.Content.Length && at < 100 * Cluster; at += Cluster / 2)
            {
                disk.Content.Locate(at, disk.Content.Length - at);
                disk.Content.Read(at, part.AsSpan(0, (int)Math.Min(part.Length, disk.Content.Length - at)));
            }
        }
    }

    private static byte[] Sample() => new VmaWriter()
        .Config("qemu-server.conf", "boot: order=scsi0\nname: web01\nostype: l26\n[snap]\nname: other\n")
        .Device(1, "drive-scsi0", (3 * Cluster) + 5000)
        .Device(2, "vmstate", Cluster)
        .Device(3, "drive-virtio1", Cluster)
        .Extent((1, 1, Full), (1, 0, Odd), (2, 0, Full), (1, 2, new byte[Cluster]))
        .Extent((1, 3, (byte[])[.. Full[..5000], .. new byte[Cluster - 5000]]), (3, 0, Full))
        .Build();

    private static byte[] Padded(byte[] raw, int cluster)
    {
        byte[] content = new byte[Cluster];
        raw.AsSpan(cluster * Cluster, Math.Min(Cluster, raw.Length - (cluster * Cluster))).CopyTo(content);
        return content;
    }

    private static byte[] Noise(int seed, int mask)
    {
        byte[] content = new byte[Cluster];
        var random = new Random(seed);
        for (int block = 0; block < 16; block++)
        {
            if ((mask >> block & 1) != 0)
            {
                random.NextBytes(content.AsSpan(block * 4096, 4096));
            }
        }

        return content;
    }

    private static BundleHead Head(byte[] bytes) => new VmaFormat().Head(new ImageFile("x.vma", 0, new MemorySource(bytes)));

    private static VirtualDisk Open(byte[] bytes, string disk, ReadContext context) =>
        new VmaFormat().OpenDisk(new ImageFile("x.vma", 0, new MemorySource(bytes)), disk, new FolderChain((_, _) => null, [], context), context);
}
