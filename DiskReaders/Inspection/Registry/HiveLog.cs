using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>
/// Applies transaction logs to a hive that was not written to its end, in memory. Spec: M. Suhanov, "Windows registry file format
/// specification", "Format of transaction log files" and "Multiple transaction log files"; little-endian.
/// </summary>
internal sealed class HiveLog
{
    private const string EntryStructure = "registry log entry";
    private const string VectorStructure = "registry dirty vector";
    private const int EntryHeaderBytes = 40;
    private const int ReferenceBytes = 8;
    private const int SectorBytes = 512;

    /// <summary>A log has some mebibytes.</summary>
    private const long MostLogBytes = 256L << 20;

    /// <summary>An entry is held whole for its checksum; the largest are a few mebibytes.</summary>
    private const int MostEntryBytes = 64 << 20;

    private readonly IBlockSource _source;
    private readonly BaseBlock _block;

    private HiveLog(IBlockSource source, BaseBlock block)
    {
        _source = source;
        _block = block;
    }

    /// <summary>Those of a hive's logs that hold something.</summary>
    public static IReadOnlyList<HiveLog> Of(IEnumerable<IBlockSource> logs, HiveBytes bytes)
    {
        List<HiveLog> sound = [];
        foreach (IBlockSource log in logs.Where(l => l.Length is > SectorBytes and <= MostLogBytes))
        {
            try
            {
                BaseBlock block = BaseBlock.Read(log);
                if (block.IsWhole && block.FileType is BaseBlock.OldLog or BaseBlock.NewLog)
                {
                    sound.Add(new HiveLog(bytes.Cached(log), block));
                }
            }
            catch (DiskFormatException)
            {
                // Windows makes a log before it has anything to write into it.
            }
        }

        return sound;
    }

    /// <summary>Puts what the logs carry over the hive, and tells the base block that then holds.</summary>
    /// <param name="primary">The hive's own base block, which is dirty.</param>
    /// <param name="applied">How many entries or logs were applied.</param>
    public static BaseBlock Apply(BaseBlock primary, IReadOnlyList<HiveLog> logs, HiveBytes bytes, ReadContext context, out int applied)
    {
        applied = 0;
        BaseBlock block = primary;
        if (!primary.IsWhole)
        {
            HiveLog latest = logs.OrderBy(l => l._block.PrimarySequence).LastOrDefault()
                ?? throw new DiskFormatException(Fault.Corrupt, BaseBlock.Structure, 508, "bad Checksum, and no log with another base block");
            block = latest._block;
        }

        block.RequirePrimary();
        bytes.Length = block.HiveBinsBytes;
        List<HiveLog> entries = [.. logs.Where(l => l._block.FileType == BaseBlock.NewLog)];
        if (entries.Count > 0)
        {
            uint next = block.SecondarySequence;

            // Whichever of the two was begun first.
            foreach (HiveLog log in entries.Concat(entries))
            {
                applied += log.ApplyEntries(ref next, bytes, context);
            }
        }
        else if (logs.FirstOrDefault(l => l._block.LastWritten == block.LastWritten && l._block.PrimarySequence == l._block.SecondarySequence) is { } old)
        {
            // Its base block is the one in memory at that time: the hive may have grown.
            block = old._block;
            block.RequirePrimary();
            bytes.Length = block.HiveBinsBytes;
            old.ApplyPages(bytes, context);
            applied = 1;
        }

        return block;
    }

    /// <summary>Applies entries from the wanted one on, as long as each is followed by the next.</summary>
    private int ApplyEntries(ref uint next, HiveBytes bytes, ReadContext context)
    {
        int applied = 0;
        Span<byte> header = stackalloc byte[EntryHeaderBytes];
        for (long at = SectorBytes; at <= _source.Length - EntryHeaderBytes;)
        {
            context.ThrowIfCancelled();
            _source.Read(at, header);
            var v = new LeView(header, EntryStructure, at);
            uint size = v.U32(4);
            uint sequence = v.U32(12);
            bool isEntry = v.Field(0, 4).SequenceEqual("HvLE"u8)
                && size is >= EntryHeaderBytes and <= MostEntryBytes && size % SectorBytes == 0 && size <= _source.Length - at
                && v.U64(32) == Marvin32.Of(header[..32]);
            if (!isEntry)
            {
                break;
            }

            // Older ones are in the hive already.
            bool isOld = unchecked((int)(sequence - next)) < 0;
            if (!isOld)
            {
                if (sequence != next || !ApplyEntry(v, at, (int)size, bytes, context))
                {
                    break;
                }

                next = unchecked(next + 1);
                applied++;
            }

            at += size;
        }

        return applied;
    }

    /// <summary>Applies one entry; false when it is not sound, at which recovery stops.</summary>
    private bool ApplyEntry(LeView header, long at, int size, HiveBytes bytes, ReadContext context)
    {
        uint binsBytes = header.U32(16);
        long pages = header.U32(20);
        long data = EntryHeaderBytes + (pages * ReferenceBytes);
        if (binsBytes is 0 or > int.MaxValue || binsBytes % BaseBlock.Size != 0 || data > size)
        {
            return false;
        }

        using RentedBuffer entry = context.Budget.Rent(size);
        _source.Read(at, entry.Span);
        if (Marvin32.Of(entry.Span[EntryHeaderBytes..]) != header.U64(24))
        {
            return false;
        }

        var v = new LeView(entry.Span, EntryStructure, at);
        long end = data;
        for (int i = 0; i < pages; i++)
        {
            uint offset = v.U32(EntryHeaderBytes + (i * ReferenceBytes));
            uint length = v.U32(EntryHeaderBytes + (i * ReferenceBytes) + 4);
            if (offset % HiveBytes.PageBytes != 0 || length % HiveBytes.PageBytes != 0 || length > size - end || (long)offset + length > binsBytes)
            {
                return false;
            }

            end += length;
        }

        bytes.Length = binsBytes;
        for (int i = 0; i < pages; i++)
        {
            uint length = v.U32(EntryHeaderBytes + (i * ReferenceBytes) + 4);
            bytes.Put(v.U32(EntryHeaderBytes + (i * ReferenceBytes)), length, _source, at + data);
            data += length;
        }

        return true;
    }

    /// <summary>The old format: a bitmap of pages of 512 bytes, and those pages.</summary>
    private void ApplyPages(HiveBytes bytes, ReadContext context)
    {
        // The first sector is the disk's: 512 bytes times the clustering factor.
        long sector = SectorBytes * (long)Math.Max(1, Math.Min(_block.ClusteringFactor, 8));
        long bitmapBytes = bytes.Length / HiveBytes.PageBytes / 8;
        Bounds.Check(sector, 4 + bitmapBytes, _source.Length, VectorStructure);
        using RentedBuffer vector = context.Budget.Rent((int)(4 + bitmapBytes));
        _source.Read(sector, vector.Span);
        var v = new LeView(vector.Span, VectorStructure, sector);
        v.Require(v.Field(0, 4).SequenceEqual("DIRT"u8), 0, "Signature");
        long from = sector + ((4 + bitmapBytes + sector - 1) / sector * sector);
        ReadOnlySpan<byte> bitmap = vector.Span[4..];
        long dirty = 0;
        foreach (byte part in bitmap)
        {
            dirty += BitOperations.PopCount(part);
        }

        Bounds.Check(from, dirty * HiveBytes.PageBytes, _source.Length, "registry dirty pages");
        for (int i = 0; i < bitmap.Length; i++)
        {
            for (int bit = 0; bit < 8 && bitmap[i] != 0; bit++)
            {
                if ((bitmap[i] & (1 << bit)) != 0)
                {
                    bytes.Put(((i * 8L) + bit) * HiveBytes.PageBytes, HiveBytes.PageBytes, _source, from);
                    from += HiveBytes.PageBytes;
                }
            }
        }
    }
}
