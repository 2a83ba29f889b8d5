using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>Opens the journal of a file system that was not unmounted and gives the volume as its replay would leave it.</summary>
internal static class Journal
{
    /// <summary>The volume with the journal's blocks over it; the volume itself, and a gap, where the journal cannot be read.</summary>
    public static (IBlockSource Source, FastCommits? Changes) Replay(ExtSuperblock super, IBlockSource volume, ReadContext context, List<string> notes)
    {
        if (!super.Compat.HasFlag(ExtCompat.HasJournal) || super.JournalInum == 0)
        {
            string why = super.Compat.HasFlag(ExtCompat.HasJournal) ? "the journal lies on another device" : "there is no journal";
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", "journal", -1, 0, $"the file system needs recovery, but {why}"));
            return (volume, null);
        }

        try
        {
            // What is wrong with the groups is reported when they are read for good.
            using var unrecovered = new ExtVolume(super, volume, context with { Gaps = new GapList(0) });
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
            return Replay(unrecovered, log, map, context, notes);
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"the journal was not replayed: {e.Detail}" });
            return (volume, null);
        }
    }

    private static (IBlockSource Source, FastCommits? Changes) Replay(ExtVolume unrecovered, MappedSource log, IExtentMap map, ReadContext context, List<string> notes)
    {
        int blockBytes = unrecovered.Super.BlockBytes;
        Span<byte> header = stackalloc byte[JournalSuperblock.Size];
        log.Read(0, header);
        var super = new JournalSuperblock(new BeView(header, "journal_superblock_s", 0), blockBytes, log.Length / blockBytes);
        if (!super.ChecksumGood)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "journal_superblock_s", 0xFC, 0, "bad s_checksum"));
        }

        var replay = new JournalReplay(unrecovered, context.Gaps, log, map, super);
        replay.Run();
        var blocks = new Dictionary<long, JournalBlock>(replay.Blocks);
        if (blocks.Count > 0)
        {
            notes.Add($"journal replayed: {replay.Transactions} transactions, {blocks.Count} blocks");
        }

        IBlockSource recovered = Overlay(unrecovered, blocks, []);
        if (super.Start == 0 || !super.Incompat.HasFlag(JournalIncompat.FastCommit))
        {
            return (recovered, null);
        }

        FastCommits? changes = ReadFastCommits(unrecovered.Super, recovered, log, super, replay.NextTransaction, context);
        if (changes is null)
        {
            return (recovered, null);
        }

        notes.Add($"fast commits replayed: {changes.Count}");
        byte[] changed = new byte[changes.InodeBlocks.Count * blockBytes];
        int at = 0;
        foreach ((long block, byte[] bytes) in changes.InodeBlocks)
        {
            bytes.CopyTo(changed, at);
            blocks[block] = new JournalBlock(at, false, JournalMap.ChangedSource);
            at += blockBytes;
        }

        return (Overlay(unrecovered, blocks, changed), changes);
    }

    private static IBlockSource Overlay(ExtVolume unrecovered, Dictionary<long, JournalBlock> blocks, byte[] changed)
    {
        if (blocks.Count == 0)
        {
            return unrecovered.Source;
        }

        byte[] magic = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(magic, JournalSuperblock.Magic);
        var map = new JournalMap(unrecovered.Source.Length, unrecovered.Super.BlockShift, blocks);
        return new MappedSource(map, [unrecovered.Source, new MemorySource(magic), new MemorySource(changed)]);
    }

    private static FastCommits? ReadFastCommits(ExtSuperblock super, IBlockSource recovered, MappedSource log, JournalSuperblock journal, uint next, ReadContext context)
    {
        try
        {
            using var volume = new ExtVolume(super, recovered, context with { Gaps = new GapList(0) });
            return FastCommits.Read(volume, log, journal, next);
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"the journal's fast commits were not replayed, so the newest changes may be missing: {e.Detail}" });
            return null;
        }
    }
}
