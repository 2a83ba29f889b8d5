using System.IO.Compression;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Gzip;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Blocks;

public sealed class GzipSourceTests
{
    public static TheoryData<string, byte[], Fault> Hostile() => new()
    {
        { "empty", [], Fault.Truncated },
        { "no gzip", "hello, this is text"u8.ToArray(), Fault.Corrupt },
        { "another method", [0x1F, 0x8B, 7, 0, 0, 0, 0, 0, 0, 3], Fault.Corrupt },
        { "reserved flags", [0x1F, 0x8B, 8, 0xE0, 0, 0, 0, 0, 0, 3, 3, 0], Fault.Corrupt },
        { "a name without end", [0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 3, .. Enumerable.Repeat((byte)'a', 70_000)], Fault.Limit },
        { "a header only", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3], Fault.Truncated },
        { "block type 3", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0b111, 0, 0], Fault.Corrupt },
        { "a stored block whose lengths differ", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1, 5, 0, 5, 0], Fault.Corrupt },
        { "a match before the first byte", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0x03, 0x02, 0, 0, 0, 0, 0], Fault.Corrupt },
        { "no code for the end of a block", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void What_is_no_gzip_file_is_a_fault(string what, byte[] bytes, Fault fault)
    {
        Assert.NotEmpty(what);
        var budget = new ScanBudget(16 << 20);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => new GzipSource(new MemorySource(bytes), 0, new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData("gzip -1")]
    [InlineData("gzip -6")]
    [InlineData("gzip -9")]
    [InlineData("python3 -c 'import sys,gzip; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read(), 0))'")]
    [InlineData("python3 -c 'import sys,zlib; c=zlib.compressobj(6,8,31,8,zlib.Z_FIXED); sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read())+c.flush())'")]
    [InlineData("python3 -c 'import sys,zlib; c=zlib.compressobj(6,8,31,8,zlib.Z_HUFFMAN_ONLY); sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read())+c.flush())'")]
    [InlineData("python3 -c 'import sys,zlib; c=zlib.compressobj(9,8,31,1,zlib.Z_RLE); sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read())+c.flush())'")]
    [InlineData("split -b 1000000 --filter='gzip -c'")]
    [InlineData("sh -c 'gzip -cN --name; head -c 5000 /dev/zero'")]
    public void Content_equals_what_gzip_unpacks_in_order_and_in_any_slices(string packer)
    {
        using var scratch = new Scratch();
        Tool.Shell($"(seq 1 300000; head -c 3000000 /dev/urandom; head -c 5000000 /dev/zero; seq 1 300000) > raw; {packer} < raw > packed.gz", scratch.Folder);
        byte[] raw = File.ReadAllBytes(scratch["raw"]);
        var budget = new ScanBudget(64 << 20);
        var gaps = new GapList();
        using (var source = new GzipSource(new FileSource(scratch["packed.gz"]), 7, new ReadContext(budget, gaps)))
        {
            Assert.Equal(raw.Length, source.Length);
            Assert.Equal(Content.Sha256OfFile(scratch["raw"]), source.Sha256(step: 70_001));
            var random = new Random(1);
            byte[] buffer = new byte[600_000];
            for (int i = 0; i < 200; i++)
            {
                int at = random.Next(raw.Length);
                Span<byte> part = buffer.AsSpan(0, Math.Min(random.Next(i % 20 == 0 ? buffer.Length : 5000), raw.Length - at));
                source.Read(at, part);
                Assert.True(part.SequenceEqual(raw.AsSpan(at, part.Length)), $"{part.Length} bytes at {at}");
            }

            Assert.Equal((ExtentKind.Packed, 7), (source.Locate(100, 1).Kind, source.Locate(100, 1).File));
        }

        Assert.Empty(gaps.ToList());
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_wrong_check_value_is_a_gap_and_the_bytes_are_given()
    {
        byte[] packed = Gzip(new byte[100_000]);
        packed[^5] ^= 1;
        var gaps = new GapList();
        using var source = new GzipSource(new MemorySource(packed), 0, new ReadContext(new ScanBudget(16 << 20), gaps));
        Assert.Equal(100_000, source.Length);
        Assert.Equal(new byte[100_000], source.ReadAll());
        Assert.Equal(Fault.Corrupt, Assert.Single(gaps.ToList()).Fault);
    }

    [Fact]
    public void A_file_that_is_cut_off_gives_what_is_there_and_a_gap()
    {
        byte[] raw = new byte[400_000];
        new Random(1).NextBytes(raw);
        var gaps = new GapList();
        using var source = new GzipSource(new MemorySource(Gzip(raw).AsMemory(0, 200_000)), 0, new ReadContext(new ScanBudget(16 << 20), gaps));
        Assert.InRange(source.Length, 190_000, 200_000);
        Assert.Equal(raw[..(int)source.Length], source.ReadAll());
        Assert.Equal(Fault.Truncated, Assert.Single(gaps.ToList()).Fault);
    }

    [Fact]
    public void A_bomb_is_no_more_memory_than_any_file()
    {
        using var scratch = new Scratch();
        Tool.Shell("head -c 1G /dev/zero | gzip -9 > bomb.gz", scratch.Folder);
        var budget = new ScanBudget(4 << 20);
        using (var source = new GzipSource(new FileSource(scratch["bomb.gz"]), 0, new ReadContext(budget, new GapList())))
        {
            Assert.Equal(1L << 30, source.Length);
            byte[] last = new byte[10];
            source.Read(source.Length - 10, last);
            source.Read(source.Length / 2, last);
            Assert.Equal(new byte[10], last);
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void Mutated_files_give_data_or_a_fault()
    {
        byte[] raw = [.. Enumerable.Range(0, 3000).SelectMany(i => BitConverter.GetBytes(i * i % 1000)), .. new byte[5000]];
        byte[] packed = [.. Gzip(raw), .. Gzip(raw[..200])];
        Mutations.Check(packed, Read, [], Mutations.PerFormat);
    }

    internal static void Read(byte[] bytes, ReadContext context)
    {
        using var source = new GzipSource(new MemorySource(bytes), 0, context);
        byte[] part = new byte[1000];
        for (long at = source.Length; at > 0; at = Math.Max(0, at - 1_000_000))
        {
            Span<byte> last = part.AsSpan(0, (int)Math.Min(part.Length, at));
            source.Read(at - last.Length, last);
        }
    }

    private static byte[] Gzip(byte[] raw)
    {
        var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Optimal))
        {
            gzip.Write(raw);
        }

        return packed.ToArray();
    }
}
