using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

[Flags]
internal enum JournalCompat : uint
{
    Checksum = 0x1,
}

[Flags]
internal enum JournalIncompat : uint
{
    Revoke = 0x1,
    Bit64 = 0x2,
    AsyncCommit = 0x4,
    ChecksumV2 = 0x8,
    ChecksumV3 = 0x10,
    FastCommit = 0x20,
}

/// <summary>
/// <c>struct journal_superblock_s</c>. Specification: "ext4 Data Structures and Algorithms", "Journal (jbd2)", "Super Block". Big-endian, 1024
/// bytes, the journal's first block.
/// </summary>
internal readonly struct JournalSuperblock
{
    public const int Size = 1024;
    public const uint Magic = 0xC03B_3998;
    private const uint BlockTypeV1 = 3;
    private const uint BlockTypeV2 = 4;
    private const uint DefaultFastCommitBlocks = 256;
    private const int ChecksumField = 0xFC;

    public readonly uint First, Last, Sequence, Start, FastCommitFirst, MaxLength;
    public readonly JournalCompat Compat;
    public readonly JournalIncompat Incompat;
    public readonly uint Seed;
    public readonly bool ChecksumGood;

    public JournalSuperblock(BeView v, int blockBytes, long journalBlocks)
    {
        v.Require(v.U32(0) == Magic, 0, "h_magic");
        uint type = v.U32(4);
        v.Require(type is BlockTypeV1 or BlockTypeV2, 4, "h_blocktype");
        v.Require(v.U32(0xC) == (uint)blockBytes, 0xC, "s_blocksize");
        MaxLength = v.U32(0x10);
        v.Require(MaxLength > 1 && MaxLength <= journalBlocks, 0x10, "s_maxlen");
        First = v.U32(0x14);
        Sequence = v.U32(0x18);
        Start = v.U32(0x1C);
        Last = MaxLength;
        if (type == BlockTypeV2)
        {
            Compat = (JournalCompat)v.U32(0x24);
            Incompat = (JournalIncompat)v.U32(0x28);
            const JournalIncompat Known = JournalIncompat.Revoke | JournalIncompat.Bit64 | JournalIncompat.AsyncCommit
                | JournalIncompat.ChecksumV2 | JournalIncompat.ChecksumV3 | JournalIncompat.FastCommit;
            if ((Incompat & ~Known) != 0)
            {
                throw v.Unsupported(0x28, $"journal feature {Incompat & ~Known} (0x{(uint)(Incompat & ~Known):X})");
            }
        }

        if (Incompat.HasFlag(JournalIncompat.FastCommit))
        {
            // s_num_fc_blks: the log ends where the fast commit area at the journal's end begins.
            uint blocks = v.U32(0x54);
            blocks = blocks == 0 ? DefaultFastCommitBlocks : blocks;
            v.Require(blocks < MaxLength, 0x54, "s_num_fc_blks");
            Last = MaxLength - blocks;
            FastCommitFirst = Last + 1;
        }

        v.Require(First >= 1 && First < Last, 0x14, "s_first");
        v.Require(Start == 0 || (Start >= First && Start < Last), 0x1C, "s_start");
        Seed = Crc32C.Update(uint.MaxValue, v.Field(0x30, 16));
        ChecksumGood = !HasChecksum || Checksum(v) == v.U32(ChecksumField);
    }

    public bool HasChecksum => (Incompat & (JournalIncompat.ChecksumV2 | JournalIncompat.ChecksumV3)) != 0;

    private static uint Checksum(BeView v)
    {
        ReadOnlySpan<byte> zero = [0, 0, 0, 0];
        uint state = Crc32C.Update(uint.MaxValue, v.Bytes[..ChecksumField]);
        state = Crc32C.Update(state, zero);
        return Crc32C.Update(state, v.Bytes[(ChecksumField + 4)..Size]);
    }
}
