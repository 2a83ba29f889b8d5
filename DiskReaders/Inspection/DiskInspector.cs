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

    /// <summary>Looks at all disks of a VM together: groups, arrays and file systems may span them.</summary>
    /// <param name="disks">Owned by the answer.</param>
    public static InspectedVm Inspect(IReadOnlyList<OpenedDisk> disks, ReadContext context)
    {
        var discovery = new VolumeDiscovery(context);
        var volumes = new List<(OpenedDisk Disk, InspectedVolume Volume)>();
        try
        {
            IReadOnlyList<VolumeNode> roots = discovery.Discover(disks);
            List<(OpenedDisk Disk, string Id, VolumeNode Node)> leaves = [];
            for (int i = 0; i < disks.Count; i++)
            {
                int number = 0;
                foreach (VolumeNode leaf in roots[i].Leaves)
                {
                    leaves.Add((disks[i], disks[i].Prefix + "v" + (++number).ToString(CultureInfo.InvariantCulture), leaf));
                }
            }

            var spans = new FileSystemSpans();
            leaves.ForEach(l => spans.Add(l.Id, l.Node.Content));
            foreach ((OpenedDisk disk, string id, VolumeNode node) in leaves)
            {
                context.ThrowIfCancelled();
                foreach (InspectedVolume volume in States(id, node, spans, context))
                {
                    volumes.Add((disk, volume));
                }
            }

            return new InspectedVm(
                [.. disks.Select((d, i) => new InspectedDisk(
                    d,
                    roots[i].Scheme,
                    [.. volumes.Where(v => v.Disk == d).Select(v => v.Volume)],
                    context.VolumeStates.IncludePresent ? [.. roots[i].AllAreas] : []))],
                discovery);
        }
        catch
        {
            volumes.ForEach(v => v.Volume.Dispose());
            discovery.Dispose();
            foreach (OpenedDisk disk in disks)
            {
                disk.Disk.Dispose();
            }

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

    /// <summary>A volume as it is and as it was, as far as these states are asked for.</summary>
    private static IEnumerable<InspectedVolume> States(string id, VolumeNode node, FileSystemSpans spans, ReadContext context)
    {
        // What is damaged in states nobody asked for is no gap.
        bool isPresent = context.VolumeStates.IncludePresent;
        InspectedVolume volume = Open(id, node, spans, context with { Gaps = isPresent ? new PlacedGaps(context.Gaps, id) : new GapList(0) });
        if (isPresent)
        {
            yield return volume;
        }

        try
        {
            foreach (InspectedVolume earlier in EarlierVolumes.Of(volume, context))
            {
                yield return earlier;
            }
        }
        finally
        {
            if (!isPresent)
            {
                volume.Dispose();
            }
        }
    }

    private static InspectedVolume Open(string id, VolumeNode node, FileSystemSpans spans, ReadContext context)
    {
        string kind = "unknown";
        IFileSystem? fileSystem = null;
        List<string> notes = [.. node.Notes];
        IBlockSource content = node.Content ?? MemorySource.Empty;
        try
        {
            if (node.Fault is { } fault)
            {
                kind = node.Partition.Scheme is "none" or "mbr" or "gpt" ? kind : node.Partition.Scheme;
                throw fault;
            }

            VolumeIdentity identity = spans.IdentityOf(id) ?? FileSystemFormats.Identify(content);
            if (identity.Names.Count > 1)
            {
                context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "volume", 0, 0, $"its bytes say {string.Join(" and ", identity.Names)} at once; it is read as {identity.Names[0]}, the guest may see another"));
            }

            if (identity.Readable is [var format, ..])
            {
                kind = format.Name;
                if (spans.FirstOf(id) is { } first && first != id)
                {
                    notes.Add($"a device of {first}");
                }
                else
                {
                    fileSystem = format.Open(spans.DevicesOf(id) ?? [content], context);
                    kind = fileSystem.Facts.Kind;
                    notes.AddRange(fileSystem.Facts.Notes);
                    notes.AddRange(EarlierVolumes.NotesOf(format, content, context));
                }
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
            context.Gaps.Add(new CoverageGap(e, "", node.Partition.SizeBytes));
        }
        catch (IOException e)
        {
            context.Gaps.Add(new CoverageGap(Fault.Transport, "", "storage", -1, content.Length, e.Message));
        }

        return new InspectedVolume { Id = id, Name = node.VolumeName, Partition = node.Partition, Content = content, FileSystem = fileSystem, Kind = kind, Notes = notes };
    }
}
