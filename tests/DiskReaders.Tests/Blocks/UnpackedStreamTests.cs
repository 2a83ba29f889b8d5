using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Blocks;

/// <summary>Packed streams against the programs that pack them.</summary>
public sealed class UnpackedStreamTests
{
    private static readonly byte[] Content = Text(5 << 20);

    [Theory]
    [InlineData("gzip", "")]
    [InlineData("gzip", "-1")]
    [InlineData("bzip2", "")]
    [InlineData("bzip2", "-1")]
    [InlineData("xz", "-3")]
    [InlineData("xz", "-0 --check=none")]
    [InlineData("xz", "--lzma2=preset=1,dict=64KiB,lc=1,lp=3,pb=1 --check=sha256")]
    [InlineData("xz", "-T2 --block-size=1MiB --check=crc32")]
    [InlineData("lzop", "")]
    [InlineData("lzop", "-9")]
    [InlineData("zstd", "")]
    [InlineData("zstd", "--no-check -15")]
    public void Any_offset_reads_as_it_was_packed(string program, string options)
    {
        var budget = new ScanBudget(96 << 20);
        using (var packed = new MemorySource(Pack(program, options, Content)))
        using (UnpackedStream stream = Open(program, packed, new ReadContext(budget, new GapList())))
        {
            Assert.Equal(Content, ReadAll(stream));
            stream.Seal();
            Assert.Equal(Content.Length, stream.Length);
            var random = new Random(7);
            for (int i = 0; i < 40; i++)
            {
                byte[] part = new byte[random.Next(1, 100_000)];
                int at = random.Next(Content.Length - part.Length);
                stream.Read(at, part);
                Assert.True(Content.AsSpan(at, part.Length).SequenceEqual(part), $"{part.Length} bytes at {at}");
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("bzip2")]
    [InlineData("xz")]
    [InlineData("lzop")]
    [InlineData("zstd")]
    public void Files_in_a_row_are_one_stream(string program)
    {
        byte[] first = Pack(program, "", Content[..100_000]);
        byte[] second = Pack(program, "", Content[100_000..300_000]);
        byte[] padding = program == "xz" ? new byte[8] : [];
        using var packed = new MemorySource((byte[])[.. first, .. padding, .. second]);
        using UnpackedStream stream = Open(program, packed, new ReadContext(new ScanBudget(96 << 20), new GapList()));
        Assert.Equal(Content[..300_000], ReadAll(stream));
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("bzip2")]
    [InlineData("xz")]
    [InlineData("lzop")]
    [InlineData("zstd")]
    public void What_lies_before_a_cut_is_given_and_the_cut_is_a_fault(string program)
    {
        byte[] whole = Pack(program, "", Content);
        using var packed = new MemorySource(whole.AsMemory(0, whole.Length * 2 / 3));
        using UnpackedStream stream = Open(program, packed, new ReadContext(new ScanBudget(96 << 20), new GapList()));
        byte[] part = new byte[100_000];
        long at = 0;
        DiskFormatException fault = Assert.Throws<DiskFormatException>(ReadOn);
        Assert.Equal(Fault.Truncated, fault.Fault);
        Assert.True(at > Content.Length / 4, $"{at} bytes");
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => { stream.ReadSome(at, part); }));

        void ReadOn()
        {
            while (true)
            {
                int got = stream.ReadSome(at, part);
                Assert.True(got > 0, "it ended as if it were whole");
                Assert.True(Content.AsSpan((int)at, got).SequenceEqual(part.AsSpan(0, got)));
                at += got;
            }
        }
    }

    [Theory]
    [InlineData("bzip2", Fault.Corrupt)]
    [InlineData("xz", Fault.Corrupt)]
    [InlineData("lzop", Fault.Corrupt)]
    [InlineData("zstd", Fault.Corrupt)]
    public void A_sum_that_differs_is_a_fault(string program, Fault expected)
    {
        byte[] bytes = Pack(program, program == "xz" ? "--check=crc64" : program == "zstd" ? "--check" : "", Content[..200_000]);

        // The sums stand at the end, before an index or an end mark.
        int at = program switch { "bzip2" => 10, "lzop" => bytes.AsSpan().IndexOf(new byte[] { 0, 3, 0x0D, 0x40 }) + 8, "zstd" => bytes.Length - 1, _ => bytes.Length - 12 - 16 - 8 };
        bytes[at] ^= 0x55;
        using var packed = new MemorySource(bytes);
        using UnpackedStream stream = Open(program, packed, new ReadContext(new ScanBudget(96 << 20), new GapList()));
        Assert.Equal(expected, Assert.Throws<DiskFormatException>(() => ReadAll(stream)).Fault);
    }

    [Theory]
    [InlineData("xz", "--lzma2=dict=128MiB")]
    [InlineData("zstd", "--long=27 --ultra -22")]
    public void A_dictionary_that_is_too_large_is_refused(string program, string options)
    {
        using var packed = new MemorySource(Pack(program, options, Content));
        using UnpackedStream stream = Open(program, packed, new ReadContext(new ScanBudget(512 << 20), new GapList()));
        Assert.Throws<DiskFormatException>(() => ReadAll(stream));
    }

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData("bzip2", "-1")]
    [InlineData("xz", "-0")]
    [InlineData("lzop", "")]
    [InlineData("zstd", "")]
    public void A_mutated_file_gives_data_or_DiskFormatException(string program, string options) => Mutations.Check(
        Pack(program, options, Content[..3000]),
        (bytes, context) =>
        {
            using var packed = new MemorySource(bytes);
            using UnpackedStream stream = PackedStreams.Open(program, packed, context);
            byte[] part = new byte[64 << 10];
            long at = 0;
            for (int got; at < 8 << 20 && (got = stream.ReadSome(at, part)) > 0; at += got)
            {
            }

            stream.Seal();
            stream.Read(0, part.AsSpan(0, (int)Math.Min(stream.Length, 100)));
        },
        [],
        budgetBytes: 256 << 20);

    private static UnpackedStream Open(string program, IBlockSource packed, ReadContext context)
    {
        Assert.Equal(program, PackedStreams.Recognise(packed));
        return PackedStreams.Open(program, packed, context);
    }

    private static byte[] ReadAll(UnpackedStream stream)
    {
        var all = new MemoryStream();
        byte[] part = new byte[77_777];
        for (int got; (got = stream.ReadSome(all.Length, part)) > 0;)
        {
            all.Write(part, 0, got);
        }

        return all.ToArray();
    }

    private static byte[] Pack(string program, string options, byte[] content)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["content"], content);
        return Tool.RunRaw("bash", scratch.Folder, "-c", $"{Tool.Find(program)} -c {options} < content");
    }

    /// <summary>Some of it packs well, some badly, some is equal over long stretches.</summary>
    private static byte[] Text(int length)
    {
        var random = new Random(3);
        byte[] bytes = new byte[length];
        for (int at = 0; at < length;)
        {
            int count = Math.Min(random.Next(1, 60_000), length - at);
            Span<byte> part = bytes.AsSpan(at, count);
            switch (random.Next(4))
            {
                case 0:
                    random.NextBytes(part);
                    break;
                case 1:
                    part.Fill((byte)random.Next(256));
                    break;
                case 2 when at > count:
                    bytes.AsSpan(random.Next(at - count), count).CopyTo(part);
                    break;
                default:
                    for (int i = 0; i < count; i++)
                    {
                        part[i] = (byte)"the quick brown fox "[random.Next(20)];
                    }

                    break;
            }

            at += count;
        }

        return bytes;
    }
}
