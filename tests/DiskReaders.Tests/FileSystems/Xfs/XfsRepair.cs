using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Xfs;
using Vmsweep.DiskReaders.FileSystems.Xfs.Log;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>Recomputes the checksums of an XFS with blocks of 1 KiB after it was changed on purpose.</summary>
public static class XfsRepair
{
    /// <summary>Of every block that a packed image has, by the magic number it begins with.</summary>
    public static void Packed(byte[] packed)
    {
        int count = PackedXfs.CountOf(packed);
        for (int i = 0; i < count; i++)
        {
            Block(packed.AsSpan(PackedXfs.HeaderBytes(count) + (i * PackedXfs.BlockBytes), PackedXfs.BlockBytes));
        }
    }

    /// <summary>Of the block or inode at a byte of an image.</summary>
    public static void At(byte[] image, long offset) => Block(image.AsSpan((int)(offset / PackedXfs.BlockBytes * PackedXfs.BlockBytes), PackedXfs.BlockBytes));

    /// <summary>Of every record of the log that a packed image has.</summary>
    public static void PackedLog(byte[] packed)
    {
        byte[] record = new byte[LogRecord.MostBytes + (9 * LogRecord.SectorBytes)];
        int count = PackedXfs.CountOf(packed);
        using IBlockSource image = PackedXfs.Open(packed);
        for (int place = PackedXfs.HeaderBytes(count); place + LogRecord.SectorBytes <= packed.Length; place += LogRecord.SectorBytes)
        {
            if (!IsRecord(packed.AsSpan(place, LogRecord.SectorBytes)))
            {
                continue;
            }

            int index = (place - PackedXfs.HeaderBytes(count)) / PackedXfs.BlockBytes;
            long offset = (PackedXfs.BlockAt(packed, index) * PackedXfs.BlockBytes) + ((place - PackedXfs.HeaderBytes(count)) % PackedXfs.BlockBytes);
            try
            {
                var header = new LogRecord(new BeView(packed.AsSpan(place, LogRecord.SectorBytes), "xlog_rec_header", 0));
                image.Read(offset, record.AsSpan(0, header.Sectors * LogRecord.SectorBytes));
                BinaryPrimitives.WriteUInt32LittleEndian(packed.AsSpan(place + 32), header.ChecksumOf(record));
            }
            catch (DiskFormatException)
            {
                // No record any more.
            }
        }
    }

    /// <summary>Where records of the log begin that are of the last cycle, in order.</summary>
    public static int[] Records(byte[] image)
    {
        List<(ulong Lsn, int At)> found = [];
        for (int at = 0; at + 512 <= image.Length; at += 512)
        {
            if (IsRecord(image.AsSpan(at, LogRecord.SectorBytes)))
            {
                found.Add((BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(at + 16)), at));
            }
        }

        found.Sort();
        return [.. found.Select(f => f.At)];
    }

    /// <summary>Those that a replay begins with, to the last.</summary>
    public static int[] ActiveRecords(byte[] image)
    {
        int[] all = Records(image);
        ulong tail = BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(all[^1] + 24));
        return [.. all.Where(at => BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(at + 16)) >= tail)];
    }

    private static bool IsRecord(ReadOnlySpan<byte> sector) => BinaryPrimitives.ReadUInt32BigEndian(sector) == LogRecord.Magic && !LogRecord.IsBlank(sector);

    private static void Block(Span<byte> block)
    {
        switch (BinaryPrimitives.ReadUInt32BigEndian(block))
        {
            case 0x5846_5342:
                Stamp(block[..512], XfsSuperblock.ChecksumField);
                break;
            case 0x4941_4233:
                Stamp(block, 52);
                break;
            case 0x424D_4133:
                Stamp(block, 64);
                break;
            case 0x5844_4233 or 0x5844_4433:
                Stamp(block, 4);
                break;
            case 0x5853_4C4D:
                Stamp(block, 12);
                break;
            default:
                for (int at = 0; at < block.Length; at += 512)
                {
                    Span<byte> sector = block.Slice(at, 512);
                    if (BinaryPrimitives.ReadUInt16BigEndian(sector) == XfsInode.Magic)
                    {
                        Stamp(sector, XfsInode.ChecksumField);
                    }
                    else if (BinaryPrimitives.ReadUInt32BigEndian(sector) == 0x5841_4749)
                    {
                        Stamp(sector, 312);
                    }
                }

                break;
        }
    }

    private static void Stamp(Span<byte> bytes, int at) => BinaryPrimitives.WriteUInt32LittleEndian(bytes[at..], XfsChecksum.Of(bytes, at));
}
