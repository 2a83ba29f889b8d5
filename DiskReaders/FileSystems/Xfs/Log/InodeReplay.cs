using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>
/// Replays inode items and the creation of inode chunks. Specification: "XFS Algorithms &amp; Data Structures", "Inode Updates", "Inode Data Log
/// Item", "Inode Creation Log Item". Times are left as they were.
/// </summary>
internal sealed class InodeReplay(XfsSuperblock super, XfsVolume plain, LogPatches patches)
{
    private const uint Core = 0x1, LocalData = 0x2, ExtentData = 0x4, TreeRoot = 0x8, NewOwner = 0x200;
    private const int Format64Bytes = 56;
    private const int Format32Bytes = 52;
    private const int ShortLogCore = 96;
    private const int PairBytes = 16;
    private const int RootHeaderBytes = 4;
    private const int CreateBytes = 28;
    private const ushort FlushWraps = 0xFFFF;
    private const int FlushField = 30;

    public void Replay(LogTransaction transaction, int first, int count, BufferReplay buffers)
    {
        var v = new LeView(transaction.Region(first), "xfs_inode_log_format", -1);
        v.Require(v.Length >= Format32Bytes, 0, "length");
        int shift = v.Length >= Format64Bytes ? 0 : -4;
        uint fields = v.U32(4);
        ulong number = v.U64(16 + shift);
        long sector = v.I64(40 + shift);
        int sectors = v.I32(48 + shift);
        long offset = plain.InodeOffset(number);
        v.Require(offset >= 0 && sector >= 0 && sector <= offset >> LogPatches.SectorShift, 16, "ilf_ino");
        if (buffers.IsCancelled(sector, sectors))
        {
            return;
        }

        if ((fields & NewOwner) != 0)
        {
            patches.NewOwners.Add(number);
        }

        v.Require(count >= 2, 2, "ilf_size");
        Span<byte> bytes = stackalloc byte[super.InodeBytes];
        patches.Read(offset, bytes);
        var there = new XfsInode(bytes);
        v.Require(there.HasMagic, 16, "ilf_ino: there is no inode");
        ReadOnlySpan<byte> core = transaction.Region(first + 1);
        if ((fields & Core) == 0 || IsNewer(there, core, transaction.Lsn))
        {
            return;
        }

        SetCore(bytes, core, transaction.Lsn);
        if ((fields & (LocalData | ExtentData | TreeRoot)) != 0)
        {
            v.Require(count >= 3, 2, "ilf_size");
            SetFork(bytes, transaction.Region(first + 2), (fields & TreeRoot) != 0, offset);
        }

        patches.Write(offset, bytes);
    }

    /// <summary>A new chunk of inodes, none of them in use yet.</summary>
    public void Create(ReadOnlySpan<byte> format, BufferReplay buffers)
    {
        var v = new BeView(format, "xfs_icreate_log", -1);
        v.Require(v.Length >= CreateBytes, 0, "length");
        uint group = v.U32(4), block = v.U32(8), count = v.U32(12), length = v.U32(20);
        v.Require(group < super.GroupCount, 4, "icl_ag");
        v.Require(v.U32(16) == super.InodeBytes, 16, "icl_isize");
        v.Require(length > 0 && block < super.BlocksOf(group) && length <= super.BlocksOf(group) - block, 20, "icl_length");
        v.Require(count is > 0 and <= InodeChunk.Inodes && count == (ulong)length << super.InodesPerBlockLog, 12, "icl_count");
        long start = plain.ByteOf(group, block);
        long end = start + ((long)length << super.BlockShift);
        int cluster = super.InodeClusterBytes;
        for (long at = start; at < end; at += cluster)
        {
            if (buffers.IsCancelled(at >> LogPatches.SectorShift, cluster >> LogPatches.SectorShift))
            {
                return;
            }
        }

        Span<byte> inode = stackalloc byte[super.InodeBytes];
        inode.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(inode, XfsInode.Magic);
        inode[4] = 3;
        BinaryPrimitives.WriteUInt32BigEndian(inode[92..], v.U32(24));
        BinaryPrimitives.WriteUInt32BigEndian(inode[96..], uint.MaxValue);
        super.MetaUuid.TryWriteBytes(inode[160..], bigEndian: true, out _);
        ulong first = ((ulong)group << super.GroupInodesLog) | ((ulong)block << super.InodesPerBlockLog);
        for (uint i = 0; i < count; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(inode[152..], first + i);
            patches.Write(start + ((long)i * super.InodeBytes), inode);
        }
    }

    // Version 3 says for which transaction it was written; before, a counter that wraps says how often.
    private static bool IsNewer(XfsInode there, ReadOnlySpan<byte> core, ulong lsn)
    {
        if (there.Version >= 3)
        {
            ulong written = BinaryPrimitives.ReadUInt64BigEndian(there.Bytes[XfsInode.LsnField..]);
            return written is not (0 or ulong.MaxValue) && written > lsn;
        }

        ushort flushed = BinaryPrimitives.ReadUInt16BigEndian(there.Bytes[FlushField..]);
        ushort logged = core.Length >= FlushField + 2 ? BinaryPrimitives.ReadUInt16LittleEndian(core[FlushField..]) : (ushort)0;
        return logged < flushed && !(flushed == FlushWraps && logged < FlushWraps >> 1);
    }

    // The log has the core in the byte order of the machine that wrote it.
    private static void SetCore(Span<byte> inode, ReadOnlySpan<byte> core, ulong lsn)
    {
        var v = new LeView(core, "xfs_log_dinode", -1);
        v.Require(v.Length >= ShortLogCore && v.U16(0) == XfsInode.Magic, 0, "di_magic");
        bool isLong = v.U8(4) >= 3;
        v.Require(isLong == inode[4] >= 3 && v.Length >= (isLong ? XfsInode.LongCoreBytes : ShortLogCore), 4, "di_version");
        inode[4] = v.U8(4);
        inode[5] = v.U8(5);
        inode[82] = v.U8(82);
        inode[83] = v.U8(83);
        foreach (int at in (ReadOnlySpan<int>)[2, 6, 20, 22, 80, 90])
        {
            BinaryPrimitives.WriteUInt16BigEndian(inode[at..], v.U16(at));
        }

        foreach (int at in (ReadOnlySpan<int>)[8, 12, 16, 72, 76, 92])
        {
            BinaryPrimitives.WriteUInt32BigEndian(inode[at..], v.U32(at));
        }

        foreach (int at in (ReadOnlySpan<int>)[56, 64])
        {
            BinaryPrimitives.WriteUInt64BigEndian(inode[at..], v.U64(at));
        }

        if (!isLong)
        {
            BinaryPrimitives.WriteUInt16BigEndian(inode[FlushField..], 0);
            return;
        }

        BinaryPrimitives.WriteUInt64BigEndian(inode[24..], v.U64(24));
        BinaryPrimitives.WriteUInt64BigEndian(inode[120..], v.U64(120));
        BinaryPrimitives.WriteUInt64BigEndian(inode[XfsInode.LsnField..], lsn);
        BinaryPrimitives.WriteUInt64BigEndian(inode[152..], v.U64(152));
        v.Field(160, 16).CopyTo(inode[160..]);
    }

    private void SetFork(Span<byte> bytes, ReadOnlySpan<byte> data, bool isRoot, long offset)
    {
        var inode = new XfsInode(bytes);
        int length = inode.DataFork(offset).Length;
        Span<byte> fork = bytes.Slice(inode.ForkOffset, length);
        if (!isRoot)
        {
            if (data.Length > length)
            {
                throw new DiskFormatException(Fault.Corrupt, "xfs_inode_log_format", -1, $"{data.Length} bytes for a fork of {length}");
            }

            data.CopyTo(fork);
            return;
        }

        // In the log the root has a whole block's header, and its pointers lie behind as many keys as the region has room for.
        int header = super.IsV5 ? LongBtreeBlock.HeaderV5 : LongBtreeBlock.HeaderV4;
        var v = new BeView(data, "xfs_btree_block", -1);
        v.Require(data.Length >= header, 0, "length");
        int most = (data.Length - header) / PairBytes;
        int room = (length - RootHeaderBytes) / PairBytes;
        int records = v.U16(6);
        v.Require(records <= most && records <= room, 6, "bb_numrecs");
        fork.Clear();
        data.Slice(4, 4).CopyTo(fork);
        data.Slice(header, records * 8).CopyTo(fork[RootHeaderBytes..]);
        data.Slice(header + (most * 8), records * 8).CopyTo(fork[(RootHeaderBytes + (room * 8))..]);
    }
}
