using System.Buffers.Binary;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary><c>csum_type</c> of the superblock: how everything is checked.</summary>
internal enum CsumType : ushort
{
    Crc32C = 0,
    XxHash64 = 1,
    Sha256 = 2,
    Blake2b = 3,
}

/// <summary>The file system's checksum. Multi-byte values are stored little-endian; CRC-32C is seeded and ended with all ones, xxHash64 has seed 0, BLAKE2b 256 bits and no key.</summary>
internal static class BtrfsChecksum
{
    public const int MostBytes = 32;

    public static int SizeOf(CsumType type) => type switch { CsumType.Crc32C => 4, CsumType.XxHash64 => 8, _ => 32 };

    public static string NameOf(CsumType type) => type switch
    {
        CsumType.Crc32C => "crc32c",
        CsumType.XxHash64 => "xxhash64",
        CsumType.Sha256 => "sha256",
        _ => "blake2b",
    };

    /// <summary>Writes the checksum of <paramref name="data"/> at the start of <paramref name="sum"/>.</summary>
    public static void Compute(CsumType type, ReadOnlySpan<byte> data, Span<byte> sum)
    {
        switch (type)
        {
            case CsumType.Crc32C:
                BinaryPrimitives.WriteUInt32LittleEndian(sum, Crc32C.Compute(data));
                break;
            case CsumType.XxHash64:
                BinaryPrimitives.WriteUInt64LittleEndian(sum, XxHash64.Of(data));
                break;
            case CsumType.Sha256:
                SHA256.HashData(data, sum);
                break;
            default:
                Blake2b.Hash256(data, sum);
                break;
        }
    }

    public static bool IsGood(CsumType type, ReadOnlySpan<byte> data, ReadOnlySpan<byte> expected)
    {
        Span<byte> sum = stackalloc byte[MostBytes];
        int size = SizeOf(type);
        Compute(type, data, sum);
        return sum[..size].SequenceEqual(expected[..size]);
    }
}
