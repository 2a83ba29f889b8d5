using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary><c>struct dm_raid_superblock</c> at the start of a member's metadata volume. Linux drivers/md/dm-raid.c. Little-endian.</summary>
/// <param name="FailedDevices">Bit for each member of the first 64.</param>
/// <param name="RecoveryBytes">This member holds what it should up to here; <see cref="long.MaxValue"/> for all.</param>
/// <param name="IsInSync">Parity and copies were made for the whole array.</param>
/// <param name="DataOffset">Where data begin on the member.</param>
internal sealed record RaidSuperblock(ulong Events, ulong FailedDevices, long RecoveryBytes, bool IsInSync, bool IsReshaping, long DataOffset)
{
    private const uint Magic = 0x6452_6D44;
    private const int Bytes = 512;

    /// <summary>Fields from 60 on are there.</summary>
    private const uint SupportsReshape = 1;

    /// <summary>Null where there is none: the array was never started, or its metadata volume is missing.</summary>
    public static RaidSuperblock? Read(IBlockSource metadata)
    {
        Span<byte> bytes = stackalloc byte[Bytes];
        if (!metadata.TryRead(0, bytes))
        {
            return null;
        }

        var v = new LeView(bytes, "dm-raid superblock", 0);
        if (v.U32(0) != Magic)
        {
            return null;
        }

        bool canReshape = (v.U32(4) & SupportsReshape) != 0;
        ulong recovered = v.U64(32);
        ulong offset = canReshape ? v.U64(96) : 0;
        v.Require(offset <= Lvm2Limits.MostVolumeBytes / 512, 96, "data_offset");
        return new RaidSuperblock(
            v.U64(16),
            v.U64(24),
            recovered <= long.MaxValue / 512 ? (long)recovered * 512 : long.MaxValue,
            v.U64(40) == ulong.MaxValue,
            canReshape && (v.U32(60) & 1) != 0,
            (long)offset * 512);
    }
}
