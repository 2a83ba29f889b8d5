using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

/// <summary>How a chunk lies on devices: <c>BTRFS_BLOCK_GROUP_*</c>.</summary>
internal enum Profile
{
    Single,
    Dup,
    Raid0,
    Raid1,
    Raid10,
    Raid5,
    Raid6,
}

/// <summary>One stripe of a chunk. <see cref="Device"/> counts the devices of the file system.</summary>
internal readonly record struct Stripe(int Device, long Offset);

/// <summary><c>btrfs_chunk</c>: 48 bytes and 32 for each stripe, little-endian. A range of logical addresses and where it lies.</summary>
internal sealed class Chunk
{
    public const int HeaderBytes = 0x30;
    public const int StripeItemBytes = 32;

    /// <summary><c>BTRFS_STRIPE_LEN</c>: the only one there is.</summary>
    public const int StripeBytes = 64 << 10;

    private const int StripeShift = 16;
    private const int MostAttempts = 64;           // of RAID 6 over more devices not every pair is tried

    private Chunk(long logical, long length, ulong type, Profile profile, int subStripes, Stripe[] stripes)
    {
        Logical = logical;
        Length = length;
        Type = type;
        Profile = profile;
        SubStripes = subStripes;
        Stripes = stripes;
        DataStripes = profile switch
        {
            Profile.Raid0 => stripes.Length,
            Profile.Raid10 => stripes.Length / subStripes,
            Profile.Raid5 => stripes.Length - 1,
            Profile.Raid6 => stripes.Length - 2,
            _ => 1,
        };
    }

    public long Logical { get; }

    public long Length { get; }

    public long End => Logical + Length;

    public ulong Type { get; }

    public Profile Profile { get; }

    public int SubStripes { get; }

    public Stripe[] Stripes { get; }

    /// <summary>Stripes that hold different data.</summary>
    public int DataStripes { get; }

    /// <summary>Ways to read a piece without parity.</summary>
    public int Copies => Profile switch { Profile.Dup or Profile.Raid1 => Stripes.Length, Profile.Raid10 => SubStripes, _ => 1 };

    /// <summary>All ways: RAID 5 also by P, RAID 6 by P, by Q, and by both for each other stripe that may be bad too.</summary>
    public int Attempts => Profile switch { Profile.Raid5 => 2, Profile.Raid6 => Math.Min(2 + DataStripes, MostAttempts), _ => Copies };

    /// <summary>True when all of a chunk follows each other on its stripes.</summary>
    public bool IsContiguous => Profile is Profile.Single or Profile.Dup or Profile.Raid1;

    public bool HasParity => Profile is Profile.Raid5 or Profile.Raid6;

    /// <summary>Reads a chunk's item.</summary>
    /// <param name="v">The item.</param>
    /// <param name="logical">The key's offset.</param>
    /// <param name="deviceOf">The device by its id and uuid.</param>
    public static Chunk Read(LeView v, ulong logical, int sectorBytes, Func<ulong, byte[], int> deviceOf)
    {
        long length = v.NonNegative64(0, "length");
        ulong type = v.U64(0x18);
        int count = v.U16(0x2C);
        int sub = v.U16(0x2E);
        v.Require(logical < (ulong)BtrfsSuperblock.MostAddress && logical % (ulong)sectorBytes == 0, 0, "logical address");
        v.Require(length > 0 && length < BtrfsSuperblock.MostAddress && length % sectorBytes == 0, 0, "length");
        v.Require(v.U64(0x10) == StripeBytes, 0x10, "stripe_len");
        Profile profile = ProfileOf(v, type);
        v.Require(
            (type & AllProfiles) switch
            {
                0 => count == 1,
                BlockGroupDup or BlockGroupRaid1 => count == 2,
                BlockGroupRaid1C3 => count == 3,
                BlockGroupRaid1C4 => count == 4,
                BlockGroupRaid10 => sub == 2 && count >= 2 && count % 2 == 0,
                BlockGroupRaid5 => count >= 2,
                BlockGroupRaid6 => count >= 3,
                _ => count >= 1,
            },
            0x2C,
            "num_stripes");
        var stripes = new Stripe[count];
        for (int i = 0; i < count; i++)
        {
            int at = HeaderBytes + (i * StripeItemBytes);
            ulong offset = v.U64(at + 8);
            v.Require(offset < (ulong)BtrfsSuperblock.MostAddress, at + 8, "stripe offset");
            stripes[i] = new Stripe(deviceOf(v.U64(at), v.Field(at + 16, BtrfsSuperblock.UuidBytes).ToArray()), (long)offset);
        }

        return new Chunk((long)logical, length, type, profile, sub, stripes);
    }

    /// <summary>Where a logical address lies: which data stripe (of a mirrored group: of the group), where on its device, and for how long it goes on there.</summary>
    public StripePlace Place(long logical)
    {
        long within = logical - Logical;
        if (IsContiguous)
        {
            return new StripePlace(0, 0, within, Length - within);
        }

        long number = within >> StripeShift;
        long row = number / DataStripes;
        int inStripe = (int)(within & (StripeBytes - 1));
        return new StripePlace(row, (int)(number % DataStripes), (row << StripeShift) + inStripe, Math.Min(StripeBytes - inStripe, Length - within));
    }

    /// <summary>The stripe that holds a column of a row: data first, then P and Q.</summary>
    public Stripe Column(long row, int column) => Stripes[(int)((row + column) % Stripes.Length)];

    private const ulong BlockGroupRaid0 = 1 << 3;
    private const ulong BlockGroupRaid1 = 1 << 4;
    private const ulong BlockGroupDup = 1 << 5;
    private const ulong BlockGroupRaid10 = 1 << 6;
    private const ulong BlockGroupRaid5 = 1 << 7;
    private const ulong BlockGroupRaid6 = 1 << 8;
    private const ulong BlockGroupRaid1C3 = 1 << 9;
    private const ulong BlockGroupRaid1C4 = 1 << 10;
    private const ulong AllProfiles = 0x7F8;

    private static Profile ProfileOf(LeView v, ulong type)
    {
        switch (type & AllProfiles)
        {
            case 0:
                return Profile.Single;
            case BlockGroupRaid0:
                return Profile.Raid0;
            case BlockGroupRaid1 or BlockGroupRaid1C3 or BlockGroupRaid1C4:
                return Profile.Raid1;
            case BlockGroupDup:
                return Profile.Dup;
            case BlockGroupRaid10:
                return Profile.Raid10;
            case BlockGroupRaid5:
                return Profile.Raid5;
            case BlockGroupRaid6:
                return Profile.Raid6;
            default:
                throw v.Corrupt(0x18, "type: more than one profile");
        }
    }
}

/// <summary>A place in a chunk.</summary>
/// <param name="Row">Of striped data.</param>
/// <param name="Column">Which data stripe of the row.</param>
/// <param name="Offset">From the stripe's offset on its device.</param>
/// <param name="Length">Bytes that follow there.</param>
internal readonly record struct StripePlace(long Row, int Column, long Offset, long Length);
