using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>Where the bytes of a content stand on the disks.</summary>
/// <param name="Pieces">In the order of the content; each as long as the same disk goes on.</param>
/// <param name="Disk">The one disk that all of it stands on; -1 where there are several or none.</param>
/// <param name="Layer">The deepest layer of that disk that has all of it. A file whose last byte was written in a clone is the clone's.</param>
internal sealed record ContentPlaces(IReadOnlyList<DiskRange> Pieces, int Disk, LayerRange Layer)
{
    /// <summary>A content in more pieces is read: its trace would cost more than it spares.</summary>
    private const int MostPieces = 1 << 16;

    /// <summary>Null where a byte stands nowhere that can be told: what is unpacked, decrypted, or kept in metadata is read.</summary>
    public static ContentPlaces? Of(IBlockSource source)
    {
        if (source is not IDiskBacked backed)
        {
            return null;
        }

        List<DiskRange> pieces = [];
        int disk = DiskRange.Nowhere;
        LayerRange layer = new(int.MaxValue, -1, 0);
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
        return new ContentPlaces(pieces, isOfOne ? disk : -1, isOfOne ? layer : default);
    }
}
