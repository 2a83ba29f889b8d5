namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>The mapping pairs that one FILE record holds of an attribute.</summary>
internal readonly record struct StreamSegment(long LowestVcn, byte[] Pairs);

/// <summary>
/// Where a stream's bytes are, when that takes more words than one list of mapping pairs. Kept as the volume has it: it is
/// unpacked when the stream is opened.
/// </summary>
internal sealed class StreamLayout
{
    public StreamSegment[] Segments { get; init; } = [];

    /// <summary>The FILE record that holds the value; -1 when it is not resident.</summary>
    public long ResidentRecord { get; init; } = -1;

    public int ValuePosition { get; init; }

    public long FileSize { get; init; }

    public long ValidDataLength { get; init; }

    /// <summary>The content is the stored clusters alone, one behind the other, without the holes between them.</summary>
    public bool OnlyStored { get; init; }

    /// <summary>Log2 of the clusters of a compression unit; 0 when the stream is not compressed.</summary>
    public byte CompressionUnitShift { get; init; }

    /// <summary>How the bytes of this stream are packed again by the Windows Overlay Filter; the layout is then of the packed stream.</summary>
    public WofAlgorithm? Wof { get; init; }
}

/// <summary>FILE_PROVIDER_EXTERNAL_INFO_V1, Algorithm. Spec: wdk <c>ntifs.h</c>, FILE_PROVIDER_COMPRESSION_*.</summary>
internal enum WofAlgorithm
{
    Xpress4K = 0,
    Lzx = 1,
    Xpress8K = 2,
    Xpress16K = 3,
}
