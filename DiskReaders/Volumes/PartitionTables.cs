using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Gpt;
using Vmsweep.DiskReaders.Volumes.Mbr;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>
/// Finds how a disk is divided. A GPT goes before the MBR that protects it; an MBR with partitions of its own and no protective
/// one goes before a GPT, as guests see it. What only the weaker table names is kept where no partition lies, so that hybrid
/// disks are read whole.
/// </summary>
public static class PartitionTables
{
    private const int SmallSector = 512;
    private const int LargeSector = 4096;

    /// <summary>What is read here, for people.</summary>
    public static IReadOnlyList<FormatSupport> Supported { get; } =
    [
        new("MBR", "primary, extended and logical partitions; sectors of 512 and 4096 bytes; what lies between partitions"),
        new("GPT", "both copies, hybrid tables; sectors of 512 and 4096 bytes; what lies between partitions"),
    ];

    /// <param name="disk">The disk as the guest sees it.</param>
    /// <param name="sectorBytes">Its logical sector size as far as known: 512 or 4096. The other one is tried too: raw images do not say.</param>
    /// <param name="context">Gaps and memory.</param>
    /// <exception cref="DiskFormatException">Sector 0 cannot be read.</exception>
    public static DiskLayout Read(IBlockSource disk, int sectorBytes, ReadContext context)
    {
        int first = sectorBytes == LargeSector ? LargeSector : SmallSector;
        ReadOnlySpan<int> sizes = [first, SmallSector + LargeSector - first];
        MbrTable? mbr = MbrTable.Find(disk);
        bool isProtected = mbr?.IsGptProtective ?? false;
        GptTable? gpt = GptTable.Find(disk, sizes, isProtected, context);
        var builder = new LayoutBuilder(disk.Length, context);
        bool hasMbr = mbr is { HasPartitions: true };
        if (gpt is null && !hasMbr)
        {
            return isProtected ? Unreadable(builder, sizes[0]) : new DiskLayout("none", [], []);
        }

        if (mbr is { IsFileSystem: true })
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "boot sector", 0, 0, "sector 0 is a file system's and a partition table's; the table is followed"));
        }

        int counted = gpt?.SectorBytes ?? Counted(mbr!, disk, sizes);
        builder.AddTable("mbr", 0, counted);
        List<TableRecord> ofMbr = hasMbr ? mbr!.Read(disk, counted, builder, context) : [];
        List<TableRecord> ofGpt = gpt?.Records ?? [];
        if (gpt is not null)
        {
            AddTables(gpt, builder);
            long sectors = disk.Length / gpt.SectorBytes;
            if (gpt.Header.AlternateLba >= sectors)
            {
                // Nothing of a partition may be lost with it, but nobody can tell what was.
                context.Gaps.Add(new CoverageGap(
                    Fault.Truncated, "", "GPT Header", (gpt.HeaderLba * gpt.SectorBytes) + 32, 0, $"AlternateLBA is {gpt.Header.AlternateLba}, the disk ends after {sectors} sectors: it was longer when it was divided"));
            }
        }

        bool gptLeads = gpt is not null && (isProtected || !hasMbr);
        (gptLeads ? ofGpt : ofMbr).ForEach(builder.Add);
        builder.AddWhereFree(gptLeads ? ofMbr : ofGpt);
        return builder.Build(gptLeads ? "gpt" : "mbr");
    }

    // Announced, and neither copy sound: nothing is a partition then, all is read as what lies outside of them.
    private static DiskLayout Unreadable(LayoutBuilder builder, int sectorBytes)
    {
        builder.AddTable("mbr", 0, sectorBytes);
        return builder.Build("gpt");
    }

    // An MBR does not tell its sector size: the declared one counts unless only the other finds volumes.
    private static int Counted(MbrTable mbr, IBlockSource disk, ReadOnlySpan<int> sizes) =>
        mbr.Evidence(disk, sizes[0]) == 0 && mbr.Evidence(disk, sizes[1]) > 0 ? sizes[1] : sizes[0];

    private static void AddTables(GptTable gpt, LayoutBuilder builder)
    {
        builder.AddTable("gpt-header", gpt.HeaderLba * gpt.SectorBytes, gpt.SectorBytes);
        builder.AddTable("gpt-entries", gpt.Header.PartitionEntryLba * gpt.SectorBytes, gpt.Header.TableBytes);
        if (gpt.Header.AlternateLba <= (long.MaxValue / gpt.SectorBytes) - 1)
        {
            builder.AddTable("gpt-header", gpt.Header.AlternateLba * gpt.SectorBytes, gpt.SectorBytes);
        }
    }
}
