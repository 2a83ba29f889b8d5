using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes;

/// <summary>Disks with partition tables: made by sfdisk and sgdisk, or byte by byte where no tool would write such a thing.</summary>
internal static class TableImages
{
    public const int Sector = 512;

    /// <summary>A blank disk with a signature, and MBR entries where given.</summary>
    public static byte[] Mbr(int sectors, params (int Slot, byte Type, uint Start, uint Count)[] entries)
    {
        byte[] disk = new byte[sectors * Sector];
        BootRecord(disk, 0, entries);
        return disk;
    }

    /// <summary>Writes a boot record's signature and entries at a sector.</summary>
    public static void BootRecord(byte[] disk, int sector, params (int Slot, byte Type, uint Start, uint Count)[] entries)
    {
        Span<byte> record = disk.AsSpan(sector * Sector, Sector);
        record[510] = 0x55;
        record[511] = 0xAA;
        foreach ((int slot, byte type, uint start, uint count) in entries)
        {
            Span<byte> entry = record.Slice(446 + (slot * 16), 16);
            entry[4] = type;
            BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], start);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], count);
        }
    }

    /// <summary>A small disk that sgdisk has divided.</summary>
    public static byte[] Gpt(int mebibytes = 1, params string[] sgdisk)
    {
        using var scratch = new Scratch();
        string path = scratch["gpt.raw"];
        File.WriteAllBytes(path, new byte[mebibytes << 20]);
        Tool.Run("sgdisk", ["-a", "1", .. sgdisk, path]);
        return File.ReadAllBytes(path);
    }

    /// <summary>Recomputes the checksums of both copies, as far as their fields still lead somewhere.</summary>
    public static void RepairGpt(byte[] disk)
    {
        foreach (int at in (ReadOnlySpan<int>)[Sector, disk.Length - Sector])
        {
            Span<byte> header = disk.AsSpan(at, Sector);
            long array = (long)BinaryPrimitives.ReadUInt64LittleEndian(header[72..]) * Sector;
            long bytes = (long)BinaryPrimitives.ReadUInt32LittleEndian(header[80..]) * BinaryPrimitives.ReadUInt32LittleEndian(header[84..]);
            if (array >= 0 && bytes >= 0 && array <= disk.Length && bytes <= disk.Length - array)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(header[88..], Crc32.Of(disk.AsSpan((int)array, (int)bytes)));
            }

            int size = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(header[12..]), Sector);
            header[16..20].Clear();
            BinaryPrimitives.WriteUInt32LittleEndian(header[16..], Crc32.Of(header[..Math.Max(size, 20)]));
        }
    }

    public static (DiskLayout Layout, IReadOnlyList<CoverageGap> Gaps) Read(byte[] disk, int sectorBytes = Sector)
    {
        var budget = new ScanBudget(64 << 20);
        var gaps = new GapList();
        DiskLayout layout = ReadChecked(disk, sectorBytes, new ReadContext(budget, gaps));
        Assert.Equal(0, budget.InUse);
        return (layout, gaps.ToList());
    }

    /// <summary>Reads a table and holds the layout to its contract: in order, inside the disk, every byte named once or in a partition.</summary>
    public static DiskLayout ReadChecked(byte[] disk, int sectorBytes, ReadContext context)
    {
        using var source = new MemorySource(disk);
        DiskLayout layout = PartitionTables.Read(source, sectorBytes, context);
        if (layout.Scheme == "none")
        {
            Hold(layout.Partitions.Count == 0 && layout.Areas.Count == 0, "a disk without a table has no parts");
            return layout;
        }

        long at = 0;
        foreach ((long offset, long size, bool isArea) in layout.Partitions.Select(p => (p.OffsetBytes, p.SizeBytes, false))
            .Concat(layout.Areas.Select(a => (a.OffsetBytes, a.SizeBytes, true)))
            .OrderBy(p => p.Item1).ThenBy(p => p.Item3))
        {
            Hold(size > 0 && offset >= 0 && offset <= disk.Length - size, "a part lies within the disk");
            Hold(offset <= at, "no byte is left out");
            Hold(!isArea || offset == at, "areas lie outside partitions");
            at = Math.Max(at, offset + size);
        }

        Hold(at == disk.Length, "the layout ends with the disk");
        Hold(layout.Partitions.SequenceEqual(layout.Partitions.OrderBy(p => p.OffsetBytes).ThenBy(p => p.Number)), "partitions are in order");
        return layout;
    }

    private static void Hold(bool condition, string what)
    {
        if (!condition)
        {
            throw new InvalidOperationException($"not so: {what}");
        }
    }
}
