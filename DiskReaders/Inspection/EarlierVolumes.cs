using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>The states that volumes keep of themselves, as volumes.</summary>
internal static class EarlierVolumes
{
    /// <summary>Names the states of a volume; damage among them is told here, and is a gap only where they are asked for.</summary>
    public static IEnumerable<string> NotesOf(IFileSystemFormat format, IBlockSource content, ReadContext context)
    {
        if (format is not IVolumeSnapshots keeper)
        {
            return [];
        }

        var gaps = new GapList(most: 3);
        IReadOnlyList<VolumeSnapshot> snapshots = keeper.Snapshots(content, context with { Gaps = gaps });
        return
        [
            .. snapshots.Select(s => $"keeps a shadow copy {s.Id} of {s.CreatedAt.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture)}"),
            .. gaps.ToList().Select(g => $"shadow copies: {g.Structure}: {g.Detail}"),
        ];
    }

    /// <summary>The earlier states of a volume that the context asks for, the oldest first.</summary>
    public static IEnumerable<InspectedVolume> Of(InspectedVolume volume, ReadContext context)
    {
        VolumeStates states = context.VolumeStates;
        IFileSystemFormat? format = FileSystemFormats.Readable.FirstOrDefault(f => f.Name == volume.Kind);
        if (!(states.IncludeEarlier || states.One is not null) || format is not IVolumeSnapshots keeper)
        {
            yield break;
        }

        foreach (VolumeSnapshot snapshot in keeper.Snapshots(volume.Content, context with { Gaps = states.IncludeEarlier ? new PlacedGaps(context.Gaps, volume.Id) : new GapList(0) }))
        {
            if (states.IncludeEarlier || states.One == snapshot.Id)
            {
                context.ThrowIfCancelled();
                yield return Open(volume, snapshot, keeper, format, context);
            }
        }
    }

    private static InspectedVolume Open(InspectedVolume volume, VolumeSnapshot snapshot, IVolumeSnapshots keeper, IFileSystemFormat format, ReadContext context)
    {
        string id = $"{volume.Id}@{snapshot.Id}";
        context = context with { Gaps = new PlacedGaps(context.Gaps, id) };
        List<string> notes = [$"shadow copy of {snapshot.CreatedAt.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture)}"];
        IBlockSource? content = null;
        IFileSystem? fileSystem = null;
        try
        {
            content = keeper.OpenSnapshot(volume.Content, snapshot, context);
            fileSystem = format.Open(content, context);
            notes.AddRange(fileSystem.Facts.Notes);
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", volume.Content.Length));
        }
        catch (IOException e)
        {
            context.Gaps.Add(new CoverageGap(Fault.Transport, "", "storage", -1, volume.Content.Length, e.Message));
        }

        return new InspectedVolume
        {
            Id = id,
            Name = volume.Name,
            Partition = volume.Partition,
            Content = content ?? MemorySource.Empty,
            Owned = content,
            FileSystem = fileSystem,
            Kind = format.Name,
            Notes = notes,
        };
    }
}
