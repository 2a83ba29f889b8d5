using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>The segments of a volume one after the other, each a source of its own.</summary>
internal sealed class SegmentMap : IExtentMap
{
    private readonly long[] _ends;

    private SegmentMap(long[] ends) => _ends = ends;

    public long Length => _ends[^1];

    /// <summary>The data of a volume. Sizes have been checked against the device.</summary>
    /// <param name="content">The device.</param>
    /// <param name="keys">Holds a key for each segment that needs one; the ciphers keep copies.</param>
    public static IBlockSource Open(LuksHeader header, IReadOnlyList<PlacedSegment> segments, IBlockSource content, VolumeKeys keys, ReadContext context)
    {
        List<IBlockSource> sources = [];
        try
        {
            foreach (PlacedSegment placed in segments)
            {
                LuksSegment segment = placed.Segment;
                var slice = new SliceSource(content, segment.Offset, placed.Bytes, "LUKS segment");
                sources.Add(segment.IsPlain || header.DigestOf(segment) is not { } digest
                    ? slice
                    : new SectorCipherSource(slice, LuksCipher.Make(segment.Encryption!, keys.Of(digest), segment.SectorBytes, segment.IvTweak, context.Budget), context.Budget));
            }
        }
        catch
        {
            sources.ForEach(s => s.Dispose());
            throw;
        }

        if (sources is [var only])
        {
            return only;
        }

        long end = 0;
        return new MappedSource(new SegmentMap([.. segments.Select(s => end += s.Bytes)]), sources, owned: new OwnedSources(sources));
    }

    public Extent Map(long offset, long count)
    {
        int found = Array.BinarySearch(_ends, offset + 1);
        int segment = found < 0 ? ~found : found;
        long start = segment == 0 ? 0 : _ends[segment - 1];
        return new Extent(ExtentKind.Data, Math.Min(count, _ends[segment] - offset), offset - start, segment);
    }

    private sealed class OwnedSources(List<IBlockSource> sources) : IDisposable
    {
        public void Dispose() => sources.ForEach(s => s.Dispose());
    }
}

/// <summary>A segment with the bytes it has on this device.</summary>
internal sealed record PlacedSegment(LuksSegment Segment, long Bytes)
{
    public long End => Segment.Offset + Bytes;
}
