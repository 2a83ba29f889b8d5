using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Erofs;

/// <summary>What a hostile EROFS tries, and what mkfs.erofs of this machine cannot make.</summary>
public sealed class ErofsHostileTests
{
    private const int Super = 1024;
    private static readonly ErofsFormat Format = new();

    [Theory]
    [InlineData(0, "00000000", Fault.Corrupt, "magic")]
    [InlineData(12, "20", Fault.Corrupt, "blkszbits")]
    [InlineData(80, "80000000", Fault.Unsupported, "48bit")]
    [InlineData(80, "00000080", Fault.Unsupported, "0x80000000")]
    [InlineData(90, "01", Fault.Unsupported, "dirblkbits")]
    [InlineData(14, "FFFF", Fault.Corrupt, "outside")]
    [InlineData(40, "FFFFFFFF", Fault.Truncated, "")]
    public void A_superblock_that_lies_is_refused(int at, string bytes, Fault fault, string detail)
    {
        byte[] image = Make("");
        Convert.FromHexString(bytes).CopyTo(image, Super + at);
        var budget = new ScanBudget(64 << 20);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => PackedListing.ReadAll(Format, image, new ReadContext(budget, new GapList())));
        Assert.Equal(fault, e.Fault);
        Assert.Contains(detail, e.Detail, StringComparison.Ordinal);
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_bad_checksum_is_a_gap_and_the_rest_is_read()
    {
        byte[] image = Make("");
        image[Super + 64] ^= 1;
        var gaps = new GapList();
        using var source = new MemorySource(image);
        List<string> lines = PackedListing.Ours(Format, source, gaps, out _);
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps.ToList()).Fault);
        Assert.Contains(lines, l => l.EndsWith(" t2", StringComparison.Ordinal));
    }

    [Fact]
    public void Folders_that_contain_themselves_end()
    {
        byte[] image = Make("");
        ushort root = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(Super + 14));

        // Entries of type folder (2) lead to the root.
        int at = image.AsSpan().IndexOf("...aatt2"u8);
        Assert.True(at > 0);
        int start = at - (BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(at - 4)) > 0 ? 5 * 12 : 0);
        for (int entry = start; entry < at; entry += 12)
        {
            if (image[entry + 10] == 2)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(entry), root);
            }
        }

        var gaps = new GapList();
        using var source = new MemorySource(image);
        _ = PackedListing.Ours(Format, source, gaps, out _);
        Assert.Contains(gaps.ToList(), g => g.Detail.Contains("already", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("")]
    [InlineData("-zlz4hc -C 16384")]
    [InlineData("-zlz4 -E legacy-compress")]
    [InlineData("--chunksize=4096")]
    public void An_inode_of_exabytes_is_a_fault(string options)
    {
        byte[] image = Make(options + " -E force-inode-extended");
        ulong nid = NidOf(image, "code");
        int inode = (int)((long)BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(Super + 40)) * 4096) + ((int)nid * 32);
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(inode + 8), 1L << 60);
        Assert.True(Faults(image) > 0);
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(inode + 8), -1);
        Assert.True(Faults(image) > 0);
    }

    [Fact]
    public void An_image_cut_off_is_a_gap_and_never_zeros()
    {
        byte[] image = Make("-zlz4hc");
        var budget = new ScanBudget(64 << 20);
        for (int bytes = 0; bytes < image.Length; bytes += 211)
        {
            var gaps = new GapList();
            Exception? e = Record.Exception(() => PackedListing.ReadAll(Format, image[..bytes], new ReadContext(budget, gaps)));
            Assert.True(e is DiskFormatException || (e is null && gaps.Count > 0), $"{bytes}: {e}");
            Assert.Equal(0, budget.InUse);
        }
    }

    private static byte[] Make(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"mkdir -p tree/aa; head -c 30000 /bin/bash > tree/code; printf tail > tree/t; ln tree/t tree/t2; printf deep > tree/aa/f\nmv tree/code tree/aa/code; mkfs.erofs --quiet {options} image tree > /dev/null 2>&1", scratch.Folder);
        return File.ReadAllBytes(scratch["image"]);
    }

    private static ulong NidOf(byte[] image, string name)
    {
        using var source = new MemorySource(image);
        using IFileSystem system = Format.Open(source, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        return system.Walk().Single(f => Encoding.Latin1.GetString(f.Links[0].Name) == name).Id;
    }

    private static int Faults(byte[] image)
    {
        var gaps = new GapList();
        var budget = new ScanBudget(16 << 20);
        int faults = 0;
        using (var source = new MemorySource(image))
        using (IFileSystem system = Format.Open(source, new ReadContext(budget, gaps)))
        {
            foreach (GuestFile file in system.Walk())
            {
                try
                {
                    using IBlockSource content = system.OpenContent(file);
                    content.Read(0, new byte[Math.Min(content.Length, 100_000)]);
                }
                catch (DiskFormatException)
                {
                    faults++;
                }
            }
        }

        Assert.Equal(0, budget.InUse);
        return faults + (int)gaps.Count;
    }
}
