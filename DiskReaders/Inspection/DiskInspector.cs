using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Finds the volumes of a disk and opens their file systems. What cannot be read becomes a gap, and the rest goes on.</summary>
public static class DiskInspector
{
    /// <summary>Up to this much stored data of an unknown volume is read to learn whether it is empty.</summary>
    private const long MostReadForEmpty = 256L << 20;

    /// <param name="disk">Owned by the answer.</param>
    /// <param name="image">Name of the disk's image, for gaps outside volumes.</param>
    /// <param name="prefix">Put before volume ids: empty, or <c>d2</c> where a VM has several disks.</param>
    public static InspectedDisk Inspect(VirtualDisk disk, string image, string prefix, ReadContext context)
    {
        var volumes = new List<InspectedVolume>();
        try
        {
            DiskLayout layout = Layout(disk, context with { Gaps = new PlacedGaps(context.Gaps, image) });
            int number = 0;
            foreach (Partition partition in layout.Scheme == "none" ? [Whole(disk.Content)] : layout.Partitions)
            {
                context.ThrowIfCancelled();
                string id = prefix + "v" + (++number).ToString(CultureInfo.InvariantCulture);
                long there = Math.Clamp(disk.Content.Length - partition.OffsetBytes, 0, partition.SizeBytes);
                volumes.Add(Open(id, partition, new SliceSource(disk.Content, Math.Min(partition.OffsetBytes, disk.Content.Length), there, "partition"), context with { Gaps = new PlacedGaps(context.Gaps, id) }));
            }

            return new InspectedDisk(disk, layout, volumes);
        }
        catch
        {
            volumes.ForEach(v => v.Dispose());
            disk.Dispose();
            throw;
        }
    }

    /// <summary>True when nothing but zeros is stored; false also when that would take too long to learn.</summary>
    public static bool IsEmpty(IBlockSource source, ReadContext context)
    {
        const int Step = 1 << 20;
        using RentedBuffer buffer = context.Budget.Rent(Step);
        long stored = 0;
        for (long at = 0; at < source.Length;)
        {
            context.ThrowIfCancelled();
            StoredExtent extent = source.Locate(at, source.Length - at);
            if (extent.IsStored)
            {
                int count = (int)Math.Min(extent.Length, Step);
                source.Read(at, buffer.Span[..count]);
                stored += count;
                if (stored > MostReadForEmpty || buffer.Span[..count].ContainsAnyExcept((byte)0))
                {
                    return false;
                }

                at += count;
            }
            else
            {
                at += extent.Length;
            }
        }

        return true;
    }

    private static DiskLayout Layout(VirtualDisk disk, ReadContext context)
    {
        // A disk that is itself a member of an array, encrypted, or a file system of its own is not looked at as a table:
        // isohybrid images and whole-disk LVM keep bytes there that look like one.
        return FileSystemFormats.SaysItself(disk.Content) ? new DiskLayout("none", [], []) : PartitionTables.Read(disk.Content, disk.SectorBytes, context);
    }

    private static Partition Whole(IBlockSource disk) => new("none", 1, 0, disk.Length, "", "");

    private static InspectedVolume Open(string id, Partition partition, SliceSource content, ReadContext context)
    {
        string kind = "unknown";
        IFileSystem? fileSystem = null;
        try
        {
            VolumeIdentity identity = FileSystemFormats.Identify(content);
            if (identity.Names.Count > 1)
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "volume", 0, 0, $"its bytes say {string.Join(" and ", identity.Names)} at once; it is read as {identity.Names[0]}, the guest may see another"));
            }

            if (identity.Readable is [var format, ..])
            {
                kind = format.Name;
                fileSystem = format.Open(content, context);
                kind = fileSystem.Facts.Kind;
            }
            else if (identity.Known is { } known)
            {
                kind = known.Name;
                context.Gaps.Add(new CoverageGap(known.Fault, "", known.Name, 0, content.Length, known.Detail.Length > 0 ? known.Detail : $"{known.Name} is recognised but not read"));
            }
            else if (IsEmpty(content, context))
            {
                kind = "empty";
            }
            else
            {
                context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", "volume", 0, content.Length, "no known file system; its bytes are matched as they lie"));
            }
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", content.Length));
        }
        catch (IOException e)
        {
            context.Gaps.Add(new CoverageGap(Fault.Transport, "", "storage", -1, content.Length, e.Message));
        }

        return new InspectedVolume { Id = id, Partition = partition, Content = content, FileSystem = fileSystem, Kind = kind };
    }
}
