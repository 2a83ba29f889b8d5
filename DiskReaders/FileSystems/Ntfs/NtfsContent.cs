using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>Opens streams by the layout the walk kept.</summary>
internal static class NtfsContent
{
    /// <summary>The least that says where a nonresident stream is: mapping pairs alone when that is all.</summary>
    public static object SimplestLayoutOf(AssembledStream stream) =>
        !stream.IsResident && stream.More is null && !stream.IsCompressed && stream.ValidDataLength == stream.FileSize
            ? stream.First.Pairs
            : LayoutOf(stream);

    public static StreamLayout LayoutOf(AssembledStream stream, WofAlgorithm? wof = null)
    {
        return new StreamLayout
        {
            Segments = SegmentsOf(stream),
            ResidentRecord = stream.ResidentRecord,
            ValuePosition = stream.ValuePosition,
            FileSize = stream.FileSize,
            ValidDataLength = stream.ValidDataLength,
            CompressionUnitShift = stream.IsCompressed ? stream.CompressionUnitShift : (byte)0,
            Wof = wof,
        };
    }

    /// <summary>The layout of all that a stream holds beside its holes.</summary>
    public static StreamLayout StoredClustersOf(AssembledStream stream, long size) =>
        new() { Segments = SegmentsOf(stream), FileSize = size, ValidDataLength = size, OnlyStored = true };

    /// <param name="volume">The volume.</param>
    /// <param name="table">Where resident values are read.</param>
    /// <param name="layout">Where the bytes are.</param>
    /// <param name="unpackedBytes">With <see cref="StreamLayout.Wof"/> the length of the content.</param>
    public static IBlockSource Open(NtfsVolume volume, MasterFileTable table, StreamLayout layout, long unpackedBytes, bool isDeleted = false)
    {
        IBlockSource stream = layout.ResidentRecord >= 0
            ? new ResidentSource(volume, table, layout.ResidentRecord, layout.ValuePosition, (int)layout.FileSize, isDeleted)
            : layout.CompressionUnitShift > 0
                ? CompressedMap.Open(volume, RunMap.Of(volume, layout), layout.CompressionUnitShift)
                : volume.Open(RunMap.Of(volume, layout));
        return layout.Wof is { } algorithm ? WofMap.Open(volume, stream, algorithm, unpackedBytes) : stream;
    }

    private static StreamSegment[] SegmentsOf(AssembledStream stream) =>
        stream.IsResident || stream.First.Pairs is null ? []
        : stream.More is null ? [stream.First]
        : [stream.First, .. stream.More];
}
