using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Compression;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Blocks.Compression;

/// <summary>Decoders against the programs that made the streams.</summary>
public sealed class CompressionTests
{
    [Theory]
    [InlineData("x86")]
    [InlineData("powerpc")]
    [InlineData("ia64")]
    [InlineData("arm")]
    [InlineData("armthumb")]
    [InlineData("arm64")]
    [InlineData("sparc")]
    public void Filters_for_executables_are_undone(string filter)
    {
        using var scratch = new Scratch();
        // Code of this machine, and noise made of the opcodes that each filter looks for.
        var random = new Random(7);
        byte[] noise = new byte[200_000];
        byte[] likely = [0xE8, 0xE9, 0x00, 0xFF, 0xEB, 0x48, 0x01, 0x4B, 0x40, 0x7F, 0xF0, 0xF8, 0xF7, 0xFF, 0x94, 0x97, 0x90, 0xB0, 0x10, 0x11, 0x16, 0x05, 0x50, 0x0A];
        for (int i = 0; i < noise.Length; i++)
        {
            noise[i] = random.Next(3) == 0 ? (byte)random.Next(256) : likely[random.Next(likely.Length)];
        }

        File.WriteAllBytes(scratch["noise"], noise);
        Tool.Shell($"head -c 700000 /bin/bash > plain; cat noise >> plain; xz -k --check=crc32 --{filter} --lzma2=preset=1 plain", scratch.Folder);
        byte[] plain = File.ReadAllBytes(scratch["plain"]);
        byte[] made = new byte[plain.Length];
        Assert.Null(Xz.Unpack(new LzmaDecoder(), File.ReadAllBytes(scratch["plain.xz"]), made, out int count));
        Assert.Equal(plain.Length, count);
        Assert.Equal(plain, made);
    }

    [Fact]
    public void Xz_blocks_stored_chunks_and_lzma_properties()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            (head -c 300000 /dev/urandom; head -c 900000 /bin/bash; head -c 500000 /dev/zero) > plain
            xz -k -S .a --check=crc32 --block-size=400000 plain; xz -k -S .b --check=sha256 --lzma2=lc=0,lp=4,pb=0,dict=64KiB plain; xz -k -S .c --check=none -9e plain
            """, scratch.Folder);
        byte[] plain = File.ReadAllBytes(scratch["plain"]);
        byte[] made = new byte[plain.Length];
        foreach (string name in (string[])["plain.a", "plain.b", "plain.c"])
        {
            byte[] packed = File.ReadAllBytes(scratch[name]);
            Assert.Null(Xz.Unpack(new LzmaDecoder(), packed, made, out int count));
            Assert.Equal((plain.Length, true), (count, plain.AsSpan().SequenceEqual(made)));
            Assert.NotNull(Xz.Unpack(new LzmaDecoder(), packed, made.AsSpan(1), out _));
            Assert.NotNull(Xz.Unpack(new LzmaDecoder(), packed.AsSpan(0, packed.Length / 2), made, out _));
        }
    }

    [Fact]
    public void Damaged_streams_give_data_or_a_refusal()
    {
        using var scratch = new Scratch();
        Tool.Shell("head -c 20000 /bin/bash > plain; xz -k --check=none plain; xz -k --format=lzma plain", scratch.Folder);
        byte[] xz = File.ReadAllBytes(scratch["plain.xz"]), alone = File.ReadAllBytes(scratch["plain.lzma"]);
        var lzma = new LzmaDecoder();
        byte[] made = new byte[20_000];
        var random = new Random(3);
        for (int i = 0; i < 3000; i++)
        {
            byte[] bad = (byte[])xz.Clone();
            bad[random.Next(24, bad.Length)] = (byte)random.Next(256);
            _ = Xz.Unpack(lzma, bad, made, out _);
            bad = (byte[])alone.Clone();
            bad[random.Next(13, bad.Length)] ^= (byte)(1 << random.Next(8));
            Assert.True(lzma.SetProperties(bad[0]));
            var coder = new RangeDecoder(bad.AsSpan(13));
            int count = 0;
            _ = lzma.Unpack(ref coder, made, 0, ref count, made.Length, isPart: random.Next(2) == 0);
            byte[] noise = new byte[random.Next(200)];
            random.NextBytes(noise);
            Assert.InRange(Lz4.Unpack(noise, made.AsSpan(0, random.Next(500)), isPart: random.Next(2) == 0), -1, 500);
            Assert.InRange(Lzo.Unpack(noise, made.AsSpan(0, random.Next(500))), -1, 500);
        }
    }

    [Fact]
    public void A_block_of_LZ4_is_read_in_part_or_whole()
    {
        // "LZ4 Block Format Description": four literals, a match of 12 at distance 2, then the last five literals.
        byte[] block = [0x48, (byte)'a', (byte)'b', (byte)'c', (byte)'d', 2, 0, 0x50, (byte)'v', (byte)'w', (byte)'x', (byte)'y', (byte)'z'];
        byte[] made = new byte[21];
        Assert.Equal(21, Lz4.Unpack(block, made));
        Assert.Equal("abcdcdcdcdcdcdcdvwxyz"u8.ToArray(), made);
        Assert.Equal(-1, Lz4.Unpack(block, made.AsSpan(0, 20)));
        for (int part = 1; part < 21; part++)
        {
            byte[] some = new byte[part];
            Assert.Equal(part, Lz4.Unpack(block, some, isPart: true));
            Assert.Equal(made[..part], some);
        }

        Assert.Equal(-1, Lz4.Unpack([0x10, 1, 9, 0], made));
        Assert.Equal(-1, Lz4.Unpack([0xF0, 255, 255], made));
        Assert.Equal(-1, Lz4.Unpack([], made));
    }
}
