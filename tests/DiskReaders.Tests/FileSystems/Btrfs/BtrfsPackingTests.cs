using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Compression;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Checksums and decoders by themselves.</summary>
public sealed class BtrfsPackingTests
{
    [Theory]
    [InlineData("", "99e9d85137db46ef")]
    [InlineData("abc", "990977adf52cbc44")]
    [InlineData("Nobody inspects the spammish repetition", "f18b378a3ca8cefb")]
    public void XxHash64_equals_its_published_values(string text, string littleEndian)
    {
        byte[] sum = new byte[8];
        BtrfsChecksum.Compute(CsumType.XxHash64, Encoding.ASCII.GetBytes(text), sum);
        Assert.Equal(littleEndian, Convert.ToHexStringLower(sum));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(129)]
    [InlineData(4096)]
    public void Blake2b_equals_b2sum(int length)
    {
        byte[] data = [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7))];
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, data);
            byte[] sum = new byte[32];
            Blake2b.Hash256(data, sum);
            Assert.Equal(Golden.Tool.Run("b2sum", "-l", "256", path)[..64], Convert.ToHexStringLower(sum));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("11")]
    [InlineData("110000FF")]
    [InlineData("1200")]
    [InlineData("00000000")]
    [InlineData("1561616161FFFF")]
    [InlineData("166161616161400000")]
    [InlineData("16616161616120000000000000000000000000000000000000FF0100")]
    [InlineData("FF61")]
    public void Malformed_lzo_is_refused(string hex) => Assert.Equal(-1, Lzo.Unpack(Convert.FromHexString(hex), new byte[100]));

    [Fact]
    public void Random_bytes_never_escape_a_decoder()
    {
        var random = new Random(3);
        using var unpackers = new Unpackers();
        byte[] to = new byte[20000];
        for (int i = 0; i < 30_000; i++)
        {
            byte[] from = new byte[random.Next(200)];
            random.NextBytes(from);
            if (from.Length > 8 && random.Next(2) == 0)
            {
                from[0] = (byte)from.Length;
                from[1] = from[2] = from[3] = 0;
                from[4] = (byte)(from.Length - 8);
                from[5] = from[6] = from[7] = 0;
            }

            var packing = (Packing)random.Next(1, 4);
            if (packing == Packing.Zstd && from.Length > 4)
            {
                Convert.FromHexString("28B52FFD").CopyTo(from, 0);
            }

            Exception? e = Record.Exception(() => unpackers.Unpack(packing, from, to, 4096, 0));
            Assert.True(e is null or DiskFormatException, e?.ToString());
        }
    }

    [Fact]
    public void Two_lost_stripes_come_back_from_P_and_Q()
    {
        var random = new Random(5);
        byte[][] data = [.. Enumerable.Range(0, 7).Select(_ => { byte[] b = new byte[64]; random.NextBytes(b); return b; })];
        for (int x = 0; x < data.Length; x++)
        {
            for (int y = 0; y < data.Length; y++)
            {
                if (x == y)
                {
                    continue;
                }

                // P and Q of all, less those of what is not lost.
                byte[] p = new byte[64];
                byte[] q = new byte[64];
                foreach (int i in (int[])[x, y])
                {
                    Parity.Xor(p, data[i]);
                    Parity.AddMultiple(q, data[i], Parity.Power(i));
                }

                Parity.SolveTwo(p, q, x, y);
                Assert.Equal(data[x], p);
            }
        }
    }
}
