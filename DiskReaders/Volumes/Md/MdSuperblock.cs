using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Md;

/// <summary>What a member's superblock says, of whichever version, in bytes.</summary>
internal sealed record MdSuperblock
{
    /// <summary>dev_roles: a spare.</summary>
    public const int Spare = 0xFFFF;

    /// <summary>dev_roles: failed.</summary>
    public const int Faulty = 0xFFFE;

    /// <summary>dev_roles: the write journal of RAID4 to 6.</summary>
    public const int Journal = 0xFFFD;

    /// <summary><c>0.90</c>, <c>1.0</c>, <c>1.1</c> or <c>1.2</c>.</summary>
    public required string Version { get; init; }

    /// <summary>set_uuid, as mdadm writes it.</summary>
    public required string ArrayId { get; init; }

    /// <summary>set_name; empty where the version or the array has none. Guest text.</summary>
    public string Name { get; init; } = "";

    /// <summary>When the array was made: of several superblocks on one member the youngest counts.</summary>
    public required ulong CreationTime { get; init; }

    public required int Level { get; init; }

    public required int Layout { get; init; }

    public required long ChunkBytes { get; init; }

    public required uint RaidDisks { get; init; }

    /// <summary>size: used of each member. 0 where the level uses all each has.</summary>
    public required long DeviceBytes { get; init; }

    public required long DataOffset { get; init; }

    /// <summary>data_size: what this member has for data.</summary>
    public required long DataBytes { get; init; }

    /// <summary>Where the superblock lies, and its whole area.</summary>
    public required long Offset { get; init; }

    public required int AreaBytes { get; init; }

    public required ulong Events { get; init; }

    /// <summary>dev_number, this_disk.number: which entry of <see cref="Roles"/> is this member's.</summary>
    public required uint DeviceNumber { get; init; }

    /// <summary>By device number: a role in the array, or <see cref="Spare"/>, <see cref="Faulty"/>, <see cref="Journal"/>.</summary>
    public required IReadOnlyList<int> Roles { get; init; }

    /// <summary>Recovered up to here, from the data's start; null when whole.</summary>
    public long? RecoveredBytes { get; init; }

    /// <summary>It takes the place of another member with the same role once recovered.</summary>
    public bool IsReplacement { get; init; }

    public bool IsReshaping { get; init; }

    /// <summary>Mirrors or parity may disagree: the array was not stopped, or never synchronised to its end.</summary>
    public bool IsDirty { get; init; }

    public bool HasJournal { get; init; }

    public bool HasPartialParityLog { get; init; }

    /// <summary>Ranges of the member's data that the bad-block log names, from the data's start.</summary>
    public IReadOnlyList<Raid.DistrustedRange> BadBlocks { get; init; } = [];

    /// <summary>Why an otherwise sound superblock is not followed: a feature no one here knows.</summary>
    public DiskFormatException? Refusal { get; init; }

    /// <summary>The role of another member of the array, as this superblock has it.</summary>
    public int RoleOf(MdSuperblock member) =>
        member.DeviceNumber < (uint)Roles.Count ? Roles[(int)member.DeviceNumber] : Spare;

    /// <summary>True when both describe one array in one shape.</summary>
    public bool Agrees(MdSuperblock other) =>
        Level == other.Level && Layout == other.Layout && ChunkBytes == other.ChunkBytes && RaidDisks == other.RaidDisks && DeviceBytes == other.DeviceBytes;
}
