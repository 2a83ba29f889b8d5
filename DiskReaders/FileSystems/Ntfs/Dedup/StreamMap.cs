using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>An entry of a stream map: a chunk of the file. Little-endian; 64 bytes.</summary>
internal readonly struct StreamMapRecord
{
    public StreamMapRecord(LeView v)
    {
        LocalId = v.U32(0x00);
        ContainerId = v.U32(0x04);
        Offset = v.U32(0x08);
        Generation = v.U32(0x0C);
        End = v.NonNegative64(0x10, "end of the chunk");
        Digest = v.Field(0x18, ChunkRecord.DataDigestBytes).ToArray();
        StoredBytes = v.U32(0x38);
    }

    public uint LocalId { get; }

    /// <summary>The container's name has this number and the <see cref="Generation"/>.</summary>
    public uint ContainerId { get; }

    public uint Offset { get; }

    public uint Generation { get; }

    /// <summary>Where the chunk ends in the file.</summary>
    public long End { get; }

    public byte[] Digest { get; }

    public uint StoredBytes { get; }
}

/// <summary>"Smap": the chunks of a part of a file, in file order. Read as it is needed, as a large file has millions.</summary>
/// <param name="container">The container; not owned.</param>
/// <param name="first">Where the first record begins.</param>
/// <param name="count">Records, at least 1.</param>
/// <param name="begin">Where the part begins in the file.</param>
/// <param name="end">Where it ends.</param>
internal sealed class StreamMap(IBlockSource container, long first, long count, long begin, long end)
{
    public const int HeaderBytes = 8;
    public const int RecordBytes = 64;
    public const uint Signature = 0x7061_6D53;

    private const string Structure = "Smap";

    public long Count => count;

    public long Begin => begin;

    public long End => end;

    /// <summary>The chunk that holds a byte of the file, and where it begins there.</summary>
    public long Find(long offset)
    {
        long low = 0;
        long high = count - 1;
        while (low < high)
        {
            long middle = (low + high) / 2;
            (low, high) = EndOf(middle) > offset ? (low, middle) : (middle + 1, high);
        }

        return low;
    }

    /// <summary>Where a chunk begins and ends in the file.</summary>
    public (long Begin, long End) RangeOf(long index)
    {
        long from = index == 0 ? begin : EndOf(index - 1);
        long to = EndOf(index);
        if (from < begin || to <= from || to > end || to - from > ChunkSource.MaxChunkBytes || (index == count - 1 && to != end))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, first + (index * RecordBytes), $"a chunk from {from} to {to} of a part from {begin} to {end}");
        }

        return (from, to);
    }

    public StreamMapRecord this[long index]
    {
        get
        {
            Span<byte> record = stackalloc byte[RecordBytes];
            container.Read(first + (index * RecordBytes), record);
            return new StreamMapRecord(new LeView(record, Structure, first + (index * RecordBytes)));
        }
    }

    private long EndOf(long index)
    {
        Span<byte> value = stackalloc byte[8];
        container.Read(first + (index * RecordBytes) + 0x10, value);
        return new LeView(value, Structure, first + (index * RecordBytes) + 0x10).NonNegative64(0, "end of the chunk");
    }
}
