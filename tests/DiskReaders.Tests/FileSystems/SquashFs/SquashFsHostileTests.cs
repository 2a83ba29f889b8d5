using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.SquashFs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.SquashFs;

/// <summary>What a hostile SquashFS tries. Images are made without packing of metadata, so that fields can be changed in place.</summary>
public sealed class SquashFsHostileTests
{
    private const string Tree = "mkdir -p tree/a/b; head -c 30000 /bin/bash > tree/a/code; printf tail > tree/t; ln tree/t tree/t2; printf deep > tree/a/b/f";

    private static readonly SquashFsFormat Format = new();

    [Theory]
    [InlineData(0, "68737172", Fault.Corrupt)]
    [InlineData(28, "0300", Fault.Unsupported)]
    [InlineData(30, "0100", Fault.Unsupported)]
    [InlineData(20, "0700", Fault.Unsupported)]
    [InlineData(20, "0000", Fault.Unsupported)]
    [InlineData(12, "00000100", Fault.Corrupt)]
    [InlineData(22, "1F00", Fault.Corrupt)]
    [InlineData(40, "FFFFFFFFFFFFFFFF", Fault.Corrupt)]
    [InlineData(64, "FFFFFFFFFFFFFF7F", Fault.Corrupt)]
    [InlineData(64, "0000000000000000", Fault.Corrupt)]
    [InlineData(72, "6000000000000000", Fault.Corrupt)]
    [InlineData(32, "FFFFFFFFFFFFFFFF", Fault.Corrupt)]
    [InlineData(32, "0000010000000000", Fault.Corrupt)]
    public void A_superblock_that_lies_is_refused(int at, string bytes, Fault fault)
    {
        byte[] image = Make();
        Convert.FromHexString(bytes).CopyTo(image, at);
        var budget = new ScanBudget(64 << 20);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() =>
        {
            using var source = new MemorySource(image);
            using IFileSystem system = Format.Open(source, new ReadContext(budget, new GapList()));
            _ = system.Walk().Count();
        });
        Assert.Equal(fault, e.Fault);
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void Folders_that_contain_themselves_end()
    {
        byte[] image = Make();
        (int inodes, int directories) = Tables(image);
        ReadOnlySpan<byte> root = image.AsSpan(32, 8);

        // Each entry of the directory table leads to the root's inode.
        ushort offset = (ushort)(BinaryPrimitives.ReadUInt64LittleEndian(root) & 0xFFFF);
        foreach (int entry in Entries(image, directories, "a", "b"))
        {
            BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(entry), offset);
        }

        Assert.True(inodes < directories);
        List<CoverageGap> gaps = Gaps(image, out List<string> lines);
        Assert.Contains(gaps, g => g.Fault == Fault.Corrupt && g.Detail.Contains("already", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.EndsWith(" t", StringComparison.Ordinal));
    }

    [Fact]
    public void A_file_of_exabytes_with_few_blocks_is_refused_and_the_rest_is_read()
    {
        byte[] image = Make();
        foreach (int inode in Inodes(image).Where(i => BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(i)) == 2 && BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(i + 28)) == 30000))
        {
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(inode + 28), uint.MaxValue);
        }

        _ = Gaps(image, out List<string> lines, out List<DiskFormatException> faults);
        Assert.Contains(faults, f => f.Fault is Fault.Corrupt or Fault.Truncated);
        Assert.Contains(lines, l => l.EndsWith(" t2", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(20, "FEFFFFFF")]
    [InlineData(24, "FFFFFFFF")]
    [InlineData(24, "FF3F0000")]
    public void A_fragment_that_does_not_exist_or_ends_before_the_file_is_a_fault(int field, string bytes)
    {
        byte[] image = Make();
        foreach (int inode in Inodes(image).Where(i => BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(i)) == 2))
        {
            Convert.FromHexString(bytes).CopyTo(image, inode + field);
        }

        List<CoverageGap> gaps = Gaps(image, out _, out List<DiskFormatException> faults);
        Assert.NotEmpty(gaps.Select(g => g.Fault).Concat(faults.Select(f => f.Fault)));
        Assert.All(faults, f => Assert.True(f.Fault is Fault.Corrupt or Fault.Truncated));
    }

    [Fact]
    public void A_reference_into_the_middle_of_a_metadata_block_or_outside_is_a_gap()
    {
        byte[] image = Make();
        (int _, int directories) = Tables(image);
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(directories + 2 + 4), 5);
        Assert.Contains(Gaps(image, out _), g => g.Structure == "squashfs inode table");
    }

    [Fact]
    public void An_image_cut_off_is_a_gap_and_never_zeros()
    {
        byte[] image = Make();
        var budget = new ScanBudget(64 << 20);
        for (int bytes = 0; bytes < image.Length; bytes += 97)
        {
            var gaps = new GapList();
            Exception? e = Record.Exception(() => PackedListing.ReadAll(Format, image[..bytes], new ReadContext(budget, gaps)));
            Assert.True(e is DiskFormatException || (e is null && (gaps.Count > 0 || bytes >= BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan(40)))), $"{bytes}: {e}");
            Assert.Equal(0, budget.InUse);
        }
    }

    [Fact]
    public void An_abandoned_walk_returns_its_memory()
    {
        byte[] image = Make();
        var budget = new ScanBudget(64 << 20);
        using (var source = new MemorySource(image))
        using (IFileSystem system = Format.Open(source, new ReadContext(budget, new GapList())))
        {
            Assert.NotNull(system.Walk().First());
        }

        Assert.Equal(0, budget.InUse);
    }

    private static byte[] Make()
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmksquashfs tree image -no-progress -quiet -nopad -noI -noId -no-xattrs -b 4096 > /dev/null", scratch.Folder);
        return File.ReadAllBytes(scratch["image"]);
    }

    private static (int Inodes, int Directories) Tables(byte[] image) =>
        ((int)BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan(64)), (int)BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan(72)));

    // All inodes of the one metadata block, found by the numbers that headers hold: type 1 to 14 and a number of the file system.
    private static IEnumerable<int> Inodes(byte[] image)
    {
        (int start, int end) = Tables(image);
        for (int at = start + 2; at < end - 32;)
        {
            ushort type = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(at));
            yield return at;
            long size = BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(at + (type == 9 ? 24 : 28)));
            bool isWhole = BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(at + (type == 9 ? 44 : 20))) == uint.MaxValue;
            int blocks = (int)(isWhole ? (size + 4095) / 4096 : size / 4096);
            at += type switch { 1 => 32, 8 => 40, 9 => 56 + (4 * blocks), _ => 32 + (4 * blocks) };
        }
    }

    private static List<int> Entries(byte[] image, int directories, params string[] names)
    {
        List<int> found = [];
        for (int at = directories + 2; at < image.Length - 9; at++)
        {
            if (names.Any(n => BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(at + 4)) == 1 && BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(at + 6)) == 0 && image[at + 8] == n[0]))
            {
                found.Add(at);
            }
        }

        Assert.NotEmpty(found);
        return found;
    }

    private static List<CoverageGap> Gaps(byte[] image, out List<string> lines) => Gaps(image, out lines, out _);

    private static List<CoverageGap> Gaps(byte[] image, out List<string> lines, out List<DiskFormatException> faults)
    {
        var gaps = new GapList();
        var budget = new ScanBudget(64 << 20);
        lines = [];
        faults = [];
        using (var source = new MemorySource(image))
        using (IFileSystem system = Format.Open(source, new ReadContext(budget, gaps)))
        {
            foreach (GuestFile file in system.Walk())
            {
                lines.AddRange(file.Links.Select(l => $"{file.Kind} {System.Text.Encoding.Latin1.GetString(l.Path())}"));
                try
                {
                    using IBlockSource content = system.OpenContent(file);
                    byte[] buffer = new byte[Math.Min(content.Length, 1 << 20)];
                    content.Read(0, buffer);
                    content.Read(content.Length - Math.Min(content.Length, 1), buffer.AsSpan(0, (int)Math.Min(content.Length, 1)));
                }
                catch (DiskFormatException e)
                {
                    faults.Add(e);
                }
            }
        }

        Assert.Equal(0, budget.InUse);
        return [.. gaps.ToList()];
    }
}
