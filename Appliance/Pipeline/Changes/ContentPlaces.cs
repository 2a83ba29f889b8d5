using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>Where the bytes of a content stand on the disks.</summary>
/// <param name="Pieces">In the order of the content; each as long as the same disk goes on.</param>
/// <param name="Disk">The one disk that all of it stands on; -1 where there are several or none.</param>
/// <param name="Layer">The deepest layer of that disk that has all of it, byte for byte. A file of which a byte was written in a clone is the clone's.</param>
internal sealed record ContentPlaces(IReadOnlyList<DiskRange> Pieces, int Disk, LayerRange Layer)
{
    /// <summary>A content in more pieces is read: its trace would cost more than it spares.</summary>
    private const int MostPieces = 1 << 16;

    /// <summary>So much is compared with the layer below, and a sixteenth of the content: more is as well read whole.</summary>
    private const long MostCompared = 256 << 10;

    /// <summary>Null where a byte stands nowhere that can be told: what is unpacked, decrypted, or kept in metadata is read.</summary>
    /// <param name="disks">By number, for comparing; null: nothing is compared.</param>
    public static ContentPlaces? Of(IBlockSource source, IReadOnlyDictionary<int, DiskSource>? disks = null)
    {
        if (source is not IDiskBacked backed)
        {
            return null;
        }

        List<DiskRange> pieces = [];
        int disk = DiskRange.Nowhere;
        LayerRange layer = new(int.MaxValue, -1, 0);
        List<DiskRange> runs = [];
        for (long at = 0; at < source.Length;)
        {
            if (backed.OnDisk(at, source.Length - at) is not { } range)
            {
                return null;
            }

            if (range.Disk != DiskRange.Nowhere)
            {
                layer = range.Layer.Depth < layer.Depth ? range.Layer : layer;
                disk = range.Disk;
                if (disks is not null)
                {
                    AddRun(runs, range);
                }
            }

            // A chain may change layers with each of a billion clusters, all of them one piece of the disk.
            if (runs.Count > MostPieces)
            {
                return null;
            }

            at += range.Length;
            if (pieces.Count > 0 && pieces[^1] is var before && before.Disk == range.Disk && (range.Disk == DiskRange.Nowhere || before.Offset + before.Length == range.Offset))
            {
                // However finely a format tells the same place.
                pieces[^1] = before with { Length = before.Length + range.Length };
                continue;
            }

            if (pieces.Count == MostPieces)
            {
                return null;
            }

            pieces.Add(range);
        }

        // Two disks have no layer in common.
        bool isOfOne = pieces.Where(p => p.Disk != DiskRange.Nowhere).Select(p => p.Disk).Distinct().Count() == 1;
        if (isOfOne && disks is not null && disks.TryGetValue(disk, out DiskSource? opened))
        {
            layer = CopiedFrom(runs, opened, source.Length) ?? layer;
        }

        return new ContentPlaces(pieces, isOfOne ? disk : -1, isOfOne ? layer : default);
    }

    /// <summary>Images copy whole clusters for the little that is written in one: what was beside it is the layer's still. Null where it is not, or too much.</summary>
    private static LayerRange? CopiedFrom(List<DiskRange> runs, DiskSource disk, long length)
    {
        LayerRange deepest = runs.MaxBy(r => r.Layer.Depth).Layer;
        DiskRange[] copied = [.. runs.Where(r => r.Layer.Depth < deepest.Depth)];
        return copied.Sum(r => r.Length) <= Math.Max(MostCompared, length / 16) && Array.TrueForAll(copied, r => disk.IsSameBelow(deepest.Depth, r.Offset, r.Length)) ? deepest : null;
    }

    private static void AddRun(List<DiskRange> runs, DiskRange range)
    {
        if (runs.Count > 0 && runs[^1] is var last && last.Layer.Depth == range.Layer.Depth && last.Offset + last.Length == range.Offset)
        {
            runs[^1] = last with { Length = last.Length + range.Length };
        }
        else
        {
            runs.Add(range);
        }
    }
}
