using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>Opens the journal of a file system that was not unmounted and gives the volume as its replay would leave it.</summary>
internal static class Journal
{
    private const ushort FastCommitHead = 0x9;

    /// <summary>The volume with the journal's blocks over it; the volume itself, and a gap, where the journal cannot be read.</summary>
    public static IBlockSource Replay(ExtSuperblock super, IBlockSource volume, ReadContext context, List<string> notes)
    {
        if (!super.Compat.HasFlag(ExtCompat.HasJournal) || super.JournalInum == 0)
        {
            string why = super.Compat.HasFlag(ExtCompat.HasJournal) ? "the journal lies on another device" : "there is no journal";
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", "journal", -1, 0, $"the file system needs recovery, but {why}"));
            return volume;
        }

        try
        {
            using var unrecovered = new ExtVolume(super, volume, context);
            byte[] bytes = unrecovered.ReadInode(super.JournalInum);
            var inode = new ExtInode(bytes);
            long offset = unrecovered.InodeOffset(super.JournalInum);
            if (super.HasMetadataChecksum && !inode.ChecksumGood(super.ChecksumSeed, super.JournalInum))
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "ext4_inode", offset, 0, "bad checksum of the journal's inode"));
            }

            if (inode.Type != ExtInode.TypeRegular || inode.Size == 0 || inode.Size > (ulong)super.SizeBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, "ext4_inode", offset, "the journal's inode is not a file");
            }

            IExtentMap map = unrecovered.BlockMap(inode, super.JournalInum, (long)inode.Size);
            using var log = new MappedSource(map, [volume], owned: map as IDisposable);
            return Replay(unrecovered, log, map, notes);
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"the journal was not replayed: {e.Detail}" });
            return volume;
        }
    }

    private static IBlockSource Replay(ExtVolume unrecovered, MappedSource log, IExtentMap map, List<string> notes)
    {
        ReadContext context = unrecovered.Context;
        int blockBytes = unrecovered.Super.BlockBytes;
        Span<byte> header = stackalloc byte[JournalSuperblock.Size];
        log.Read(0, header);
        var super = new JournalSuperblock(new BeView(header, "journal_superblock_s", 0), blockBytes, log.Length / blockBytes);
        if (!super.ChecksumGood)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "journal_superblock_s", 0xFC, 0, "bad s_checksum"));
        }

        var replay = new JournalReplay(unrecovered, log, map, super);
        replay.Run();
        if (super.Start != 0 && super.Incompat.HasFlag(JournalIncompat.FastCommit))
        {
            CheckFastCommits(log, super, blockBytes, replay.NextTransaction, context);
        }

        if (replay.Blocks.Count == 0)
        {
            return unrecovered.Source;
        }

        notes.Add($"journal replayed: {replay.Transactions} transactions, {replay.Blocks.Count} blocks");
        byte[] magic = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(magic, JournalSuperblock.Magic);
        var recovered = new JournalMap(unrecovered.Source.Length, unrecovered.Super.BlockShift, replay.Blocks);
        return new MappedSource(recovered, [unrecovered.Source, new MemorySource(magic)]);
    }

    // "Fast commits": the area is in use when it begins with a head that names the transaction after the last complete one.
    private static void CheckFastCommits(MappedSource log, JournalSuperblock super, int blockBytes, uint next, ReadContext context)
    {
        Span<byte> head = stackalloc byte[12];
        long offset = (long)super.FastCommitFirst * blockBytes;
        log.Read(offset, head);
        var v = new LeView(head, "ext4_fc_head", offset);
        if (v.U16(0) == FastCommitHead && v.U32(8) == next)
        {
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", "fast commit area", offset, (super.MaxLength - (long)super.FastCommitFirst) * blockBytes, "the journal holds fast commits, which are not replayed: the newest changes may be missing"));
        }
    }
}
