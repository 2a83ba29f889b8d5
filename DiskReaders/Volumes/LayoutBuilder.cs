using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>A partition as a table describes it, before it is held against the disk, and where it says so.</summary>
internal sealed record TableRecord(Partition Partition, string Structure, long At);

/// <summary>Holds what tables say against the disk: clips, reports overlaps, names all bytes outside partitions.</summary>
internal sealed class LayoutBuilder(long diskBytes, ReadContext context)
{
    private readonly List<TableRecord> _records = [];
    private readonly List<DiskArea> _tables = [];

    /// <summary>Takes a partition; of one that reaches beyond the disk the part inside, and a gap for the rest.</summary>
    public void Add(TableRecord record)
    {
        Partition partition = record.Partition;
        long inside = Math.Clamp(diskBytes - partition.OffsetBytes, 0, partition.SizeBytes);
        if (inside < partition.SizeBytes)
        {
            context.Gaps.Add(new CoverageGap(
                Fault.Truncated,
                "",
                record.Structure,
                record.At,
                partition.SizeBytes - inside,
                $"partition {partition.Number} reaches {partition.SizeBytes - inside} bytes beyond the disk's end at {diskBytes}"));
        }

        if (inside > 0)
        {
            _records.Add(record with { Partition = partition with { SizeBytes = inside } });
        }
    }

    /// <summary>Takes partitions of a second table where they lie in no partition of the first.</summary>
    public void AddWhereFree(IEnumerable<TableRecord> records)
    {
        List<TableRecord> first = [.. _records];
        foreach (TableRecord record in records)
        {
            if (!first.Exists(r => Overlaps(r.Partition, record.Partition)))
            {
                Add(record);
            }
        }
    }

    /// <summary>Names a table's own bytes.</summary>
    public void AddTable(string name, long offset, long bytes)
    {
        if (offset < diskBytes)
        {
            _tables.Add(new DiskArea(name, offset, Math.Min(bytes, diskBytes - offset)));
        }
    }

    public DiskLayout Build(string scheme)
    {
        _records.Sort((a, b) => a.Partition.OffsetBytes != b.Partition.OffsetBytes
            ? a.Partition.OffsetBytes.CompareTo(b.Partition.OffsetBytes)
            : a.Partition.Number.CompareTo(b.Partition.Number));
        ReportOverlaps();
        return new DiskLayout(scheme, [.. _records.Select(r => r.Partition)], Areas());
    }

    private static bool Overlaps(Partition a, Partition b) =>
        a.OffsetBytes - b.OffsetBytes < b.SizeBytes && b.OffsetBytes - a.OffsetBytes < a.SizeBytes;

    private void ReportOverlaps()
    {
        TableRecord? reaching = null;
        foreach (TableRecord record in _records)
        {
            Partition partition = record.Partition;
            if (reaching is not null && Overlaps(reaching.Partition, partition))
            {
                context.Gaps.Add(new CoverageGap(
                    Fault.Corrupt, "", record.Structure, record.At, 0, $"partition {partition.Number} overlaps partition {reaching.Partition.Number}; both are read"));
            }

            if (reaching is null || End(partition) > End(reaching.Partition))
            {
                reaching = record;
            }
        }
    }

    private List<DiskArea> Areas()
    {
        List<DiskArea> areas = [];
        var tables = _tables.OrderBy(t => t.OffsetBytes).ToList();
        int next = 0;
        long at = 0;
        foreach (Partition partition in _records.Select(r => r.Partition))
        {
            Fill(partition.OffsetBytes);
            at = Math.Max(at, End(partition));
        }

        Fill(diskBytes);
        return areas;

        void Fill(long end)
        {
            while (at < end)
            {
                while (next < tables.Count && tables[next].OffsetBytes + tables[next].SizeBytes <= at)
                {
                    next++;
                }

                bool inTable = next < tables.Count && tables[next].OffsetBytes <= at;
                long until = inTable ? tables[next].OffsetBytes + tables[next].SizeBytes
                    : next < tables.Count ? tables[next].OffsetBytes
                    : end;
                until = Math.Min(until, end);
                areas.Add(new DiskArea(inTable ? tables[next].Name : "gap", at, until - at));
                at = until;
            }
        }
    }

    private static long End(Partition partition) => partition.OffsetBytes + partition.SizeBytes;
}
