using System.Buffers.Binary;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

public sealed class CompressionTests : IDisposable
{
    private delegate void Decoder(ReadOnlySpan<byte> packed, Span<byte> unit, long location);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("", "the chunks end before the unit")]
    [InlineData("0000", "the chunks end before the unit")]
    [InlineData("01B0", "bad chunk header")]
    [InlineData("0290 000102", "bad chunk header")]
    [InlineData("03B0 01000000", "displacement 1 at 0")]
    [InlineData("00B0 01", "the chunks end before the unit")]
    [InlineData("01B0 0100", "half a tuple")]
    [InlineData("02B0 024100", "half a tuple")]
    [InlineData("03B0 02410010 0000", "displacement 2 at 1")]
    public void A_bad_LZNT1_row_is_refused(string hex, string detail)
    {
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Lznt1.Unpack(Bytes(hex), new byte[8192], 7));
        Assert.Contains(detail, e.Detail, StringComparison.Ordinal);
        Assert.Equal(Fault.Corrupt, e.Fault);
        Assert.Equal(7, e.Offset);
    }

    [Fact]
    public void The_specification_s_LZNT1_example_unpacks()
    {
        // [MS-XCA] 3.3.
        byte[] packed = Bytes("38b08846232000204720410010a24701a0452044000845015079 00c04520 0524 138805b4024a44ef0358028c091601484500be009e000401189000");
        byte[] unit = new byte[142];
        Lznt1.Unpack(packed, unit, 0);
        Assert.Equal("F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0", System.Text.Encoding.ASCII.GetString(unit));
    }

    [Theory]
    [InlineData("", "no room for the code lengths")]
    [InlineData("00*256", "the code is not complete")]
    [InlineData("11*256", "the code is not complete")]
    public void A_bad_XPRESS_block_is_refused(string hex, string detail)
    {
        byte[] packed = hex.EndsWith("*256", StringComparison.Ordinal) ? Enumerable.Repeat(Convert.FromHexString(hex[..2])[0], 256).ToArray() : Bytes(hex);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => XpressHuffman.Unpack(packed, new byte[100], 0));
        Assert.Contains(detail, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0000", "block")]
    [InlineData("00F0 0000", "block")]
    [InlineData("0070 0000", "the packed bytes end")]
    public void A_bad_LZX_chunk_is_refused(string hex, string detail)
    {
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Lzx.Unpack(Bytes(hex), new byte[Lzx.WindowBytes], 0));
        Assert.Contains(detail, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("xpress", 4096)]
    [InlineData("xpress", 8192)]
    [InlineData("xpress", 16384)]
    [InlineData("xpress", 65536)]
    [InlineData("lzx", 32768)]
    public void What_wimlib_packed_unpacks_to_what_it_was(string codec, int chunkBytes)
    {
        string folder = Samples(_scratch);
        Dictionary<string, byte[]> packed = WimImage.Pack(folder, _scratch.Folder, codec, chunkBytes);
        Decoder decoder = codec == "lzx" ? Lzx.Unpack : XpressHuffman.Unpack;
        int chunks = 0;
        foreach (string path in Directory.GetFiles(folder))
        {
            byte[] content = File.ReadAllBytes(path);
            if (packed.TryGetValue(Sha1(content), out byte[]? resource))
            {
                chunks += CheckResource(resource, content, chunkBytes, decoder, path);
            }
        }

        Assert.True(chunks > 40, $"{chunks} chunks only");
    }

    [Fact]
    public void Random_input_gives_data_or_a_fault()
    {
        string folder = Samples(_scratch);
        foreach ((string codec, int chunkBytes, Decoder decoder) in new (string, int, Decoder)[] { ("xpress", 4096, XpressHuffman.Unpack), ("lzx", 32768, Lzx.Unpack), ("lznt1", 65536, Lznt1.Unpack) })
        {
            var random = new Random(1);
            byte[] seed = codec == "lznt1"
                ? Bytes("0FB0 00 4142434445464748 08 494A4B 0210 4C4D4E4F").Concat(new byte[64]).ToArray()
                : WimImage.Pack(folder, _scratch.Folder, codec, chunkBytes).Values.MaxBy(v => v.Length)!.AsSpan(0, 3000).ToArray();
            byte[] unit = new byte[chunkBytes];
            for (int i = 0; i < 5000; i++)
            {
                byte[] input = (byte[])seed.Clone();
                if (i % 3 == 0)
                {
                    random.NextBytes(input);
                }

                for (int edit = 0; edit <= i % 5; edit++)
                {
                    input[random.Next(Math.Min(input.Length, 400))] = (byte)random.Next(256);
                }

                try
                {
                    decoder(input.AsSpan(random.Next(2) * random.Next(300) % input.Length), unit.AsSpan(0, 1 + random.Next(unit.Length)), 0);
                }
                catch (DiskFormatException e)
                {
                    Assert.Equal(Fault.Corrupt, e.Fault);
                }
            }
        }
    }

    /// <summary>Programs, text, zeros, noise and calls: a chunk of every kind.</summary>
    internal static string Samples(Scratch scratch)
    {
        string folder = scratch["samples"];
        if (Directory.Exists(folder))
        {
            return folder;
        }

        Directory.CreateDirectory(folder);
        foreach (string program in new[] { "bash", "find", "openssl", "grep" })
        {
            File.Copy("/usr/bin/" + program, Path.Combine(folder, program));
        }

        var random = new Random(5);
        byte[] noise = new byte[200_000];
        random.NextBytes(noise);
        File.WriteAllBytes(Path.Combine(folder, "noise"), noise);
        noise.AsSpan(40_000, 90_000).Clear();
        noise.AsSpan(10_000, 20_000).Fill(0xE8);
        File.WriteAllBytes(Path.Combine(folder, "mixed"), noise);
        File.WriteAllText(Path.Combine(folder, "text"), string.Join('\n', Enumerable.Range(0, 100_000)));

        // Calls at every distance from a chunk's end, with targets that are and are not translated.
        for (int length = 1; length <= 40; length++)
        {
            byte[] calls = new byte[300 + length];
            for (int at = length % 7; at < calls.Length; at += 1 + random.Next(9))
            {
                calls[at] = 0xE8;
                if (at + 5 <= calls.Length)
                {
                    BinaryPrimitives.WriteInt32LittleEndian(calls.AsSpan(at + 1), random.Next(3) switch { 0 => random.Next(-400, 400), 1 => 12_000_000 - random.Next(800), _ => random.Next() });
                }
            }

            File.WriteAllBytes(Path.Combine(folder, "calls" + length), calls);
        }

        return folder;
    }

    internal static string Sha1(byte[] content)
    {
#pragma warning disable CA5350 // What a WIM names its resources by.
        return Convert.ToHexStringLower(SHA1.HashData(content));
#pragma warning restore CA5350
    }

    private static int CheckResource(byte[] resource, byte[] content, int chunkBytes, Decoder decoder, string name)
    {
        int chunks = (content.Length + chunkBytes - 1) / chunkBytes;
        int table = (chunks - 1) * 4;
        int packedChunks = 0;
        for (int i = 0; i < chunks; i++)
        {
            int from = table + (i == 0 ? 0 : BinaryPrimitives.ReadInt32LittleEndian(resource.AsSpan((i - 1) * 4)));
            int end = i == chunks - 1 ? resource.Length : table + BinaryPrimitives.ReadInt32LittleEndian(resource.AsSpan(i * 4));
            byte[] expected = content.AsSpan(i * chunkBytes, Math.Min(chunkBytes, content.Length - (i * chunkBytes))).ToArray();
            if (end - from == expected.Length)
            {
                continue;
            }

            packedChunks++;
            byte[] unit = new byte[expected.Length];
            decoder(resource.AsSpan(from, end - from), unit, from);
            Assert.True(expected.AsSpan().SequenceEqual(unit), $"{name}, chunk {i}: differs at {expected.AsSpan().CommonPrefixLength(unit)} of {unit.Length}");

            // Cut short, it is refused: nothing is made up.
            if (end - from > 300)
            {
                Assert.Throws<DiskFormatException>(() => decoder(resource.AsSpan(from, (end - from) - 8), new byte[expected.Length], from));
            }
        }

        return packedChunks;
    }

    private static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
}
