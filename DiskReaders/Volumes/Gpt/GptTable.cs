using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Gpt;

/// <summary>A GUID partition table: one verified header and its entry array. Spec: UEFI 2.10 section 5.3.</summary>
internal sealed class GptTable
{
    private const string EntryStructure = "GPT Partition Entry";

    private GptTable(int sectorBytes, long headerLba, GptHeader header, List<TableRecord> records)
    {
        SectorBytes = sectorBytes;
        HeaderLba = headerLba;
        Header = header;
        Records = records;
    }

    public int SectorBytes { get; }

    public long HeaderLba { get; }

    public GptHeader Header { get; }

    public List<TableRecord> Records { get; }

    /// <summary>
    /// Finds the table: the primary copy with either sector size, the given one first; then, when the disk shows that it has a
    /// table, the backup at the last block or where the damaged primary says.
    /// </summary>
    /// <param name="disk">The disk.</param>
    /// <param name="sectorBytes">The sector sizes to try.</param>
    /// <param name="isProtected">The MBR says that there is a table.</param>
    /// <param name="context">Memory and gaps.</param>
    public static GptTable? Find(IBlockSource disk, ReadOnlySpan<int> sectorBytes, bool isProtected, ReadContext context)
    {
        DiskFormatException? primaryFault = null;
        foreach (int size in sectorBytes)
        {
            if (BlockHasSignature(disk, 1, size))
            {
                (GptTable? table, DiskFormatException? fault) = Try(disk, 1, size, context);
                if (table is not null)
                {
                    return table;
                }

                primaryFault ??= fault;
            }
        }

        if (!isProtected && primaryFault is null)
        {
            return null;
        }

        primaryFault ??= new DiskFormatException(Fault.Corrupt, GptHeader.Structure, sectorBytes[0], "the protective MBR announces a GPT, but no header is there");
        context.Gaps.Add(new CoverageGap(primaryFault, "", 0));
        DiskFormatException? backupFault = null;
        foreach (int size in sectorBytes)
        {
            foreach (long lba in BackupLbas(disk, size))
            {
                (GptTable? table, DiskFormatException? fault) = Try(disk, lba, size, context);
                if (table is not null)
                {
                    return table;
                }

                backupFault ??= fault;
            }
        }

        backupFault ??= new DiskFormatException(Fault.Corrupt, GptHeader.Structure, -1, "no backup header is there either");
        context.Gaps.Add(new CoverageGap(backupFault, "", 0));
        return null;
    }

    private static bool BlockHasSignature(IBlockSource disk, long lba, int sectorBytes)
    {
        if (lba < 1 || lba >= disk.Length / sectorBytes)
        {
            return false;
        }

        Span<byte> start = stackalloc byte[8];
        disk.Read(lba * sectorBytes, start);
        return GptHeader.HasSignature(start);
    }

    private static List<long> BackupLbas(IBlockSource disk, int sectorBytes)
    {
        List<long> found = [];
        long last = (disk.Length / sectorBytes) - 1;
        if (last > 1 && BlockHasSignature(disk, last, sectorBytes))
        {
            found.Add(last);
        }

        if (BlockHasSignature(disk, 1, sectorBytes))
        {
            Span<byte> field = stackalloc byte[8];
            disk.Read(sectorBytes + 32, field);
            ulong alternate = new LeView(field, GptHeader.Structure, sectorBytes + 32).U64(0);
            if (alternate > 1 && alternate < (ulong)(disk.Length / sectorBytes) && (long)alternate != last && BlockHasSignature(disk, (long)alternate, sectorBytes))
            {
                found.Add((long)alternate);
            }
        }

        return found;
    }

    private static (GptTable? Table, DiskFormatException? Fault) Try(IBlockSource disk, long lba, int sectorBytes, ReadContext context)
    {
        try
        {
            return (Read(disk, lba, sectorBytes, context), null);
        }
        catch (DiskFormatException fault)
        {
            return (null, fault);
        }
    }

    private static GptTable Read(IBlockSource disk, long lba, int sectorBytes, ReadContext context)
    {
        GptHeader header;
        using (RentedBuffer block = context.Budget.Rent(sectorBytes))
        {
            disk.Read(lba * sectorBytes, block.Span);
            header = new GptHeader(new LeView(block.Span, GptHeader.Structure, lba * sectorBytes), lba);
        }

        long sectors = disk.Length / sectorBytes;
        if (header.PartitionEntryLba < 2 || header.PartitionEntryLba >= sectors || header.TableBytes > disk.Length - (header.PartitionEntryLba * sectorBytes))
        {
            throw new DiskFormatException(Fault.Truncated, GptHeader.Structure, (lba * sectorBytes) + 72, "PartitionEntryLBA: the entry array lies outside the disk");
        }

        using RentedBuffer array = context.Budget.Rent(header.TableBytes);
        long at = header.PartitionEntryLba * sectorBytes;
        disk.Read(at, array.Span);
        if (Crc32.Of(array.Span) != header.PartitionEntryArrayCrc32)
        {
            throw new DiskFormatException(Fault.Corrupt, "GPT Partition Entry Array", at, "bad PartitionEntryArrayCRC32");
        }

        List<TableRecord> records = [];
        for (int i = 0; i < header.NumberOfPartitionEntries; i++)
        {
            context.ThrowIfCancelled();
            int within = i * header.SizeOfPartitionEntry;
            AddEntry(new LeView(array.Span.Slice(within, header.SizeOfPartitionEntry), EntryStructure, at + within), i + 1, sectorBytes, records, context);
        }

        return new GptTable(sectorBytes, lba, header, records);
    }

    // GPT Partition Entry, section 5.3.3, table 5.6.
    private static void AddEntry(LeView v, int number, int sectorBytes, List<TableRecord> records, ReadContext context)
    {
        Guid type = v.MixedGuid(0);
        if (type == Guid.Empty)
        {
            return;
        }

        ulong first = v.U64(32);
        ulong last = v.U64(40);
        ulong most = (ulong)(long.MaxValue / sectorBytes) - 1;
        if (first > last || last > most)
        {
            context.Gaps.Add(new CoverageGap(v.Corrupt(32, $"StartingLBA or EndingLBA of partition {number}"), "", 0));
            return;
        }

        string name = Utf16(v.Field(56, 72));
        records.Add(new TableRecord(
            new Partition("gpt", number, (long)first * sectorBytes, (long)(last - first + 1) * sectorBytes, PartitionKind.OfGpt(type), name) { Id = v.MixedGuid(16).ToString("D") },
            EntryStructure,
            v.Offset));
    }

    private static string Utf16(ReadOnlySpan<byte> bytes)
    {
        int length = 0;
        while (length < bytes.Length && (bytes[length] != 0 || bytes[length + 1] != 0))
        {
            length += 2;
        }

        char[] text = new char[length / 2];
        for (int i = 0; i < text.Length; i++)
        {
            text[i] = (char)(bytes[2 * i] | (bytes[(2 * i) + 1] << 8));
        }

        return new string(text);
    }
}
