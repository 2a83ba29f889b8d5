using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>
/// Replays buffer items. Specification: "XFS Algorithms &amp; Data Structures", "Buffer Log Item", "Buffer Data Log Item"; for the order of
/// changes "Metadata Integrity" and the kernel's "XFS Self Describing Metadata": a block that says it was written later stays as it is.
/// </summary>
internal sealed class BufferReplay(XfsSuperblock super, LogPatches patches)
{
    private const int HeaderBytes = 20;
    private const int ChunkBytes = 128;            // XFS_BLF_CHUNK
    private const ushort InodeBuffer = 0x1;        // only the chain of unlinked inodes, which is not read
    private const ushort Cancel = 0x2;
    private const int TypeShift = 11;
    private const int MostWords = ushort.MaxValue * LogPatches.SectorBytes / ChunkBytes / 32;
    private const int MagicBytes = 336;            // as far as any of the headers below has its number

    private readonly Dictionary<(long Sector, int Sectors), int> _cancelled = [];

    public static bool IsCancel(ReadOnlySpan<byte> format) => (Format.Of(format).Flags & Cancel) != 0;

    /// <summary>First pass: a buffer whose blocks are freed. Changes to it before that must not reach what took its place.</summary>
    public void NoteCancel(ReadOnlySpan<byte> format)
    {
        Format item = Format.Of(format);
        if ((item.Flags & Cancel) != 0)
        {
            _cancelled[item.Key] = _cancelled.GetValueOrDefault(item.Key) + 1;
        }
    }

    /// <summary>Second pass: from here on the buffer is what took its place.</summary>
    public void DoneCancel(ReadOnlySpan<byte> format)
    {
        Format item = Format.Of(format);
        int count = _cancelled.GetValueOrDefault(item.Key);
        if (count > 1)
        {
            _cancelled[item.Key] = count - 1;
        }
        else
        {
            _cancelled.Remove(item.Key);
        }
    }

    public bool IsCancelled(long sector, int sectors) => _cancelled.ContainsKey((sector, sectors));

    public void Replay(LogTransaction transaction, int first, int count)
    {
        ReadOnlySpan<byte> bytes = transaction.Region(first);
        Format item = Format.Of(bytes);
        if ((item.Flags & InodeBuffer) != 0 || IsNotRead(item.Flags >> TypeShift) || _cancelled.ContainsKey(item.Key))
        {
            return;
        }

        long offset = checked(item.Key.Sector << LogPatches.SectorShift);
        int length = item.Key.Sectors << LogPatches.SectorShift;
        if (super.IsV5 && IsNewer(offset, length, transaction.Lsn))
        {
            return;
        }

        ReadOnlySpan<byte> map = bytes[HeaderBytes..];
        int bits = item.MapWords * 32;
        int region = first + 1;
        for (int bit = Next(map, 0, bits, true); bit < bits; bit = Next(map, bit, bits, true))
        {
            int end = Next(map, bit, bits, false);
            if (region >= first + count)
            {
                throw new DiskFormatException(Fault.Corrupt, "xfs_buf_log_format", offset, "fewer regions than blf_data_map says");
            }

            ReadOnlySpan<byte> data = transaction.Region(region++);
            int wanted = Math.Min((end - bit) * ChunkBytes, data.Length - (data.Length % ChunkBytes));
            if ((bit * ChunkBytes) + wanted > length)
            {
                throw new DiskFormatException(Fault.Corrupt, "xfs_buf_log_format", offset, "a region beyond the buffer's end");
            }

            patches.Write(offset + (bit * ChunkBytes), data[..wanted]);
            bit = end;
        }
    }

    // Quotas, free space, hashes, attributes: what no listing and no content depends on (XFS_BLFT_*).
    private static bool IsNotRead(int type) => type is 1 or 2 or 3 or 5 or 6 or (>= 12 and <= 17) or 19 or 20;

    private static int Next(ReadOnlySpan<byte> map, int bit, int bits, bool set)
    {
        while (bit < bits)
        {
            uint word = BinaryPrimitives.ReadUInt32LittleEndian(map[(bit / 32 * 4)..]);
            word = (set ? word : ~word) >> (bit % 32);
            if (word != 0)
            {
                return bit + BitOperations.TrailingZeroCount(word);
            }

            bit = (bit / 32 * 32) + 32;
        }

        return bits;
    }

    private bool IsNewer(long offset, int length, ulong lsn)
    {
        Span<byte> block = stackalloc byte[MagicBytes];
        Bounds.Check(offset, length, super.SizeBytes, "xfs_buf_log_format");
        patches.Read(offset, block);
        (int lsnAt, int uuidAt) = Fields(block);
        if (lsnAt == 0 || new Guid(block.Slice(uuidAt, 16), bigEndian: true) != super.MetaUuid)
        {
            return false;
        }

        ulong there = BinaryPrimitives.ReadUInt64BigEndian(block[lsnAt..]);
        return there is not (0 or ulong.MaxValue) && there >= lsn;
    }

    // Where each kind of block keeps the number of the transaction that it was last written for, and whose it is.
    private static (int Lsn, int Uuid) Fields(ReadOnlySpan<byte> block)
    {
        switch (BinaryPrimitives.ReadUInt32BigEndian(block))
        {
            case 0x4142_3342 or 0x4142_3343 or 0x4941_4233 or 0x4649_4233 or 0x524D_4233 or 0x5233_4643:    // AB3B AB3C IAB3 FIB3 RMB3 R3FC
                return (24, 32);
            case 0x424D_4133:                                         // BMA3 MAPR
                return (32, 40);
            case 0x5841_4746:                                                                            // XAGF
                return (208, 64);
            case 0x5841_464C:                                                                            // XAFL
                return (24, 8);
            case 0x5841_4749:                                                                            // XAGI
                return (320, 296);
            case 0x5853_4C4D:                                                                            // XSLM
                return (48, 16);
            case 0x5844_4233 or 0x5844_4433 or 0x5844_4633:                                              // XDB3 XDD3 XDF3
                return (16, 24);
            case 0x5846_5342:                                                                            // XFSB
                return (240, 32);
            default:
                return BinaryPrimitives.ReadUInt16BigEndian(block[8..]) is 0x3DF1 or 0x3DFF or 0x3EBE or 0x3BEE ? (24, 32) : (0, 0);
        }
    }

    /// <summary><c>xfs_buf_log_format</c>, in the byte order of the machine that wrote it.</summary>
    private readonly record struct Format(ushort Flags, (long Sector, int Sectors) Key, int MapWords)
    {
        public static Format Of(ReadOnlySpan<byte> bytes)
        {
            var v = new LeView(bytes, "xfs_buf_log_format", -1);
            long sector = v.I64(8);
            uint words = v.U32(16);
            v.Require(sector >= 0 && sector <= long.MaxValue >> LogPatches.SectorShift, 8, "blf_blkno");
            v.Require(words <= Math.Min(MostWords, (v.Length - HeaderBytes) / 4), 16, "blf_map_size");
            return new Format(v.U16(4), (sector, v.U16(6)), (int)words);
        }
    }
}
