using System.Buffers.Binary;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Tests.Blocks.Crypto;

public sealed class SectorCipherTests
{
    private const long Somewhere = 0x1_2345_6789;

    [Theory]
    [InlineData("0000000000000000000000000000000000000000000000000000000000000000", 0L, "00", "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e")]
    [InlineData("1111111111111111111111111111111122222222222222222222222222222222", 0x33_3333_3333, "44", "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0")]
    [InlineData("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f022222222222222222222222222222222", 0x33_3333_3333, "44", "af85336b597afc1a900b2eb21ec949d292df4c047e0b21532186a5971a227a89")]
    public void Xts_equals_the_vectors_of_ieee_1619_annex_b(string key, long sector, string filler, string cipherText)
    {
        var budget = new ScanBudget(1 << 20);
        byte[] data = Convert.FromHexString(cipherText);
        using (var cipher = new AesXtsCipher(Convert.FromHexString(key), 32, budget))
        {
            cipher.Decrypt(sector, data);
        }

        Assert.All(data, b => Assert.Equal(Convert.ToByte(filler, 16), b));
        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData(32, 512)]
    [InlineData(64, 512)]
    [InlineData(64, 4096)]
    [InlineData(32, 65_536)]
    [InlineData(32, 48)]
    public void Xts_in_bulk_equals_xts_block_by_block(int keyBytes, int sectorBytes)
    {
        byte[] key = PlainXts.Bytes(keyBytes, 1);
        byte[] plain = PlainXts.Bytes(sectorBytes * 37, 2);
        byte[] data = new byte[plain.Length];
        for (int i = 0; i < 37; i++)
        {
            PlainXts.Encrypt(key, Somewhere + i, plain.AsSpan(i * sectorBytes, sectorBytes), data.AsSpan(i * sectorBytes));
        }

        using var cipher = new AesXtsCipher(key, sectorBytes, new ScanBudget(1 << 20));
        cipher.Decrypt(Somewhere, data);
        Assert.Equal(plain, data);
    }

    [Theory]
    [InlineData("plain", 16, 512, 1)]
    [InlineData("plain64", 16, 512, 1)]
    [InlineData("plain64", 32, 4096, 8)]
    [InlineData("essiv", 32, 512, 1)]
    [InlineData("essiv", 16, 4096, 8)]
    [InlineData("offset", 16, 512, 1)]
    [InlineData("offset", 32, 4096, 1)]
    public void Cbc_in_bulk_equals_cbc_sector_by_sector(string kind, int keyBytes, int sectorBytes, int step)
    {
        const int Sectors = 75;
        const long First = 0x1_0000_0007;
        byte[] key = PlainXts.Bytes(keyBytes, 3);
        byte[] plain = PlainXts.Bytes(sectorBytes * Sectors, 4);
        byte[] data = new byte[plain.Length];
        using var aes = Aes.Create();
        aes.Key = key;
        using var essiv = Aes.Create();
        essiv.Key = SHA256.HashData(key);
        for (int i = 0; i < Sectors; i++)
        {
            byte[] iv = new byte[16];
            long number = First + ((Somewhere + i) * step);
            BinaryPrimitives.WriteInt64LittleEndian(iv, kind switch { "plain" => (uint)number, "offset" => (Somewhere + i) * sectorBytes, _ => number });
            iv = kind switch
            {
                "essiv" => essiv.EncryptEcb(iv, PaddingMode.None),
                "offset" => aes.EncryptEcb(iv, PaddingMode.None),
                _ => iv,
            };
            aes.EncryptCbc(plain.AsSpan(i * sectorBytes, sectorBytes), iv, data.AsSpan(i * sectorBytes, sectorBytes), PaddingMode.None);
        }

        SectorIv ivs = kind switch
        {
            "plain" => SectorIv.Plain(First, step),
            "plain64" => SectorIv.Plain64(First, step),
            "essiv" => SectorIv.Essiv(key, First, step),
            _ => SectorIv.EncryptedOffset(key, sectorBytes),
        };
        using var cipher = new AesCbcCipher(key, sectorBytes, new ScanBudget(1 << 20), ivs);
        cipher.Decrypt(Somewhere, data);
        Assert.Equal(plain, data);
    }

    [Fact]
    public void Any_slicing_of_reads_on_many_threads_equals_one_read()
    {
        const int SectorBytes = 512;
        var budget = new ScanBudget(8 << 20);
        byte[] stored = PlainXts.Bytes((SectorBytes * 301) + 100, 5);
        using var inner = new MemorySource(stored);
        var source = new SectorCipherSource(inner, new AesXtsCipher(PlainXts.Bytes(64, 6), SectorBytes, budget), budget);
        Assert.Equal(SectorBytes * 301, source.Length);
        byte[] whole = new byte[source.Length];
        source.Read(0, whole);
        Parallel.For(0, 2000, i =>
        {
            var random = new Random(i);
            int at = random.Next(whole.Length);
            byte[] part = new byte[random.Next(Math.Min(whole.Length - at, i % 2 == 0 ? 700 : whole.Length) + 1)];
            source.Read(at, part);
            Assert.True(part.AsSpan().SequenceEqual(whole.AsSpan(at, part.Length)));
        });
        source.Dispose();
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_hole_under_the_cipher_is_no_hole_of_the_plaintext()
    {
        var budget = new ScanBudget(1 << 20);
        using var inner = new HoleSource(1 << 20);
        using var source = new SectorCipherSource(inner, new AesXtsCipher(PlainXts.Bytes(32, 7), 512, budget), budget);
        Assert.Equal(0, source.HoleLength(0, source.Length));
        byte[] sector = new byte[512];
        source.Read(4096, sector);
        Assert.NotEqual(new byte[512], sector);
    }

    [Fact]
    public void Reads_beyond_the_end_and_without_memory_are_refused_and_leave_nothing_rented()
    {
        var budget = new ScanBudget(1000);
        using var inner = new MemorySource(new byte[1024]);
        using (var source = new SectorCipherSource(inner, new AesXtsCipher(PlainXts.Bytes(32, 8), 512, budget), budget))
        {
            Assert.Equal(Fault.Truncated, Assert.Throws<DiskFormatException>(() => source.Read(1000, new byte[100])).Fault);
            Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => source.Read(0, new byte[1024])).Fault);
        }

        Assert.Equal(0, budget.InUse);
    }

    private sealed class HoleSource(long length) : IBlockSource
    {
        public long Length => length;

        public void Read(long offset, Span<byte> destination) => destination.Clear();

        public StoredExtent Locate(long offset, long count) => new(ExtentKind.Hole, count);

        public void Dispose()
        {
        }
    }
}
