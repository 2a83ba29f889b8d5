using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Mbr;

/// <summary>
/// The partition table of a master boot record with the chain of extended boot records below it. Specs: UEFI 2.10 section 5.2;
/// the chain as MS-DOS 3.3 and Linux have it: a logical partition counts from its own record, the next record from the start of
/// the outermost extended partition.
/// </summary>
internal sealed class MbrTable
{
    private const string MbrStructure = "Master Boot Record";
    private const string EbrStructure = "Extended Boot Record";
    private const int SectorSize = 512;
    private const int SignatureAt = 510;

    /// <summary>Extended boot records of a disk. Windows and Linux stop far below.</summary>
    private const int MaxRecords = 4096;

    /// <summary>Of Windows NT, at which Linux looks too; UEFI calls it UniqueMBRDiskSignature.</summary>
    private const int DiskSignatureAt = 440;

    private readonly MbrEntry[] _entries;
    private readonly uint _diskSignature;

    private MbrTable(MbrEntry[] entries, uint diskSignature, bool isFileSystem)
    {
        _entries = entries;
        _diskSignature = diskSignature;
        IsFileSystem = isFileSystem;
    }

    /// <summary>Sector 0 also is, or only is, the boot sector of a file system.</summary>
    public bool IsFileSystem { get; }

    public bool IsGptProtective => _entries.Any(e => e.OSType == MbrEntry.GptProtective);

    /// <summary>There is a partition other than a GPT's own protection.</summary>
    public bool HasPartitions => Real.Any();

    private IEnumerable<MbrEntry> Real => _entries.Where(e => e.IsUsed && e.OSType != MbrEntry.GptProtective);

    /// <summary>Reads sector 0; null when it is no master boot record.</summary>
    public static MbrTable? Find(IBlockSource disk)
    {
        if (disk.Length < SectorSize)
        {
            return null;
        }

        Span<byte> sector = stackalloc byte[SectorSize];
        disk.Read(0, sector);
        MbrEntry[]? entries = Entries(sector, MbrStructure, 0);

        // Code or text where the table would be: no table, whatever else the sector is.
        if (entries is null || !entries.All(e => e.HasValidIndicator))
        {
            return null;
        }

        // mkfs.fat can put a table into its boot sector, with one partition that begins at sector 0: still no partitioned disk.
        bool isFileSystem = BootSector.IsFileSystem(sector, disk);
        return isFileSystem && !entries.All(e => !e.IsUsed || e.StartingLba > 0) ? null : new MbrTable(entries, new LeView(sector, MbrStructure, 0).U32(DiskSignatureAt), isFileSystem);
    }

    /// <summary>All partitions of the table, in the table's own numbers: 1 to 4, logical ones from 5. Extended ones are walked, not listed.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="sectorBytes">What the table counts in.</param>
    /// <param name="builder">Takes the sectors of the chain.</param>
    /// <param name="context">Gaps.</param>
    public List<TableRecord> Read(IBlockSource disk, int sectorBytes, LayoutBuilder builder, ReadContext context)
    {
        List<TableRecord> records = [];
        for (int i = 0; i < _entries.Length; i++)
        {
            MbrEntry entry = _entries[i];
            if (entry.IsUsed && !entry.IsExtended && entry.OSType != MbrEntry.GptProtective)
            {
                records.Add(Record(entry, i + 1, 0, sectorBytes, MbrStructure, MbrEntry.FirstAt + (i * MbrEntry.Size)));
            }
        }

        int number = MbrEntry.Count + 1;
        HashSet<long> seen = [0];
        foreach (MbrEntry entry in _entries.Where(e => e.IsUsed && e.IsExtended))
        {
            number = ReadChain(disk, entry, number, sectorBytes, seen, records, builder, context);
        }

        return records;
    }

    /// <summary>How many first sectors of primary partitions show a known start when the table counts in sectors of this size.</summary>
    public int Evidence(IBlockSource disk, int sectorBytes) =>
        Real.Count(e => VolumeStart.IsKnown(disk, (long)e.StartingLba * sectorBytes));

    private static MbrEntry[]? Entries(ReadOnlySpan<byte> sector, string structure, long offset)
    {
        var v = new LeView(sector, structure, offset);
        if (v.U16(SignatureAt) != 0xAA55)
        {
            return null;
        }

        var entries = new MbrEntry[MbrEntry.Count];
        for (int i = 0; i < entries.Length; i++)
        {
            entries[i] = new MbrEntry(v.Inner(MbrEntry.FirstAt + (i * MbrEntry.Size), MbrEntry.Size, structure));
        }

        return entries;
    }

    private TableRecord Record(MbrEntry entry, int number, long baseLba, int sectorBytes, string structure, long at) =>
        new(
            new Partition("mbr", number, (baseLba + entry.StartingLba) * sectorBytes, (long)entry.SizeInLba * sectorBytes, PartitionKind.OfMbr(entry.OSType), "")
            {
                Id = string.Create(CultureInfo.InvariantCulture, $"{_diskSignature:x8}-{number:x2}"),
            },
            structure,
            at);

    private int ReadChain(
        IBlockSource disk, MbrEntry outer, int number, int sectorBytes, HashSet<long> seen, List<TableRecord> records, LayoutBuilder builder, ReadContext context)
    {
        Span<byte> sector = stackalloc byte[SectorSize];
        long outerLba = outer.StartingLba;
        long? next = outerLba;
        while (next is { } lba)
        {
            context.ThrowIfCancelled();
            next = null;
            long at = lba * sectorBytes;
            DiskFormatException? fault =
                !seen.Add(lba) ? new DiskFormatException(Fault.Corrupt, EbrStructure, at, "the chain of extended boot records comes back to this one")
                : seen.Count > MaxRecords ? new DiskFormatException(Fault.Limit, EbrStructure, at, $"more than {MaxRecords} extended boot records")
                : at > disk.Length - SectorSize ? new DiskFormatException(Fault.Truncated, EbrStructure, at, "the extended boot record lies beyond the disk's end")
                : null;
            MbrEntry[]? entries = null;
            if (fault is null)
            {
                disk.Read(at, sector);
                entries = Entries(sector, EbrStructure, at);
                fault = entries is null ? new DiskFormatException(Fault.Corrupt, EbrStructure, at + SignatureAt, "bad Signature") : null;
            }

            if (fault is not null || entries is null)
            {
                context.Gaps.Add(new CoverageGap(fault!, "", 0));
                break;
            }

            builder.AddTable("ebr", at, sectorBytes);
            for (int i = 0; i < entries.Length; i++)
            {
                MbrEntry entry = entries[i];
                if (!entry.IsUsed)
                {
                    continue;
                }

                if (entry.IsExtended)
                {
                    next ??= outerLba + entry.StartingLba;
                }
                else if (i < 2 || (lba + entry.StartingLba >= outerLba && lba + entry.StartingLba + entry.SizeInLba <= outerLba + outer.SizeInLba))
                {
                    // The last two are unused, or, by OS/2, partitions of the same extended one; anything else in them is noise.
                    records.Add(Record(entry, number++, lba, sectorBytes, EbrStructure, at + MbrEntry.FirstAt + (i * MbrEntry.Size)));
                }
            }
        }

        return number;
    }
}
