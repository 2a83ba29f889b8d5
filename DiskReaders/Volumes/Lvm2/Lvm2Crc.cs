using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>LVM2's checksum: CRC-32 of the usual polynomial that begins with a value of its own and is not inverted. libvslvm "LVM format", "Checksum".</summary>
internal static class Lvm2Crc
{
    /// <summary>What the checksum of no bytes is.</summary>
    public const uint Initial = 0xF597_A6CF;

    /// <summary>Goes on from the checksum of the bytes before, or from <see cref="Initial"/>.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes) => ~Crc32.Append(~crc, bytes);

    public static uint Of(ReadOnlySpan<byte> bytes) => Append(Initial, bytes);
}
