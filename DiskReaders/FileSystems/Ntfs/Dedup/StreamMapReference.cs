using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>Where the stream map of a part of a file is: an entry of 64 bytes in the file's reparse point. Little-endian.</summary>
internal readonly struct StreamMapReference
{
    public const int Size = 0x40;
    public const int DigestBytes = 16;

    public StreamMapReference(LeView v)
    {
        LocalId = v.U32(0x00);
        ContainerId = v.U32(0x04);
        Offset = v.U32(0x08);
        Bytes = v.U32(0x18);
        Digest = v.Field(0x20, DigestBytes).ToArray();
        End = v.NonNegative64(0x30, "end of the part");
        Begin = v.NonNegative64(0x38, "begin of the part");
        v.Require(Bytes > StreamMap.HeaderBytes && (Bytes - StreamMap.HeaderBytes) % StreamMap.RecordBytes == 0, 0x18, "size of the stream map");
    }

    /// <summary>The shorter form of version 1, whose only part is the whole file: the digest is longer there.</summary>
    public StreamMapReference(LeView v, long fileSize)
    {
        LocalId = v.U32(0x00);
        ContainerId = v.U32(0x04);
        Offset = v.U32(0x08);
        Bytes = v.U32(0x18);
        Digest = v.Field(0x20, DigestBytes).ToArray();
        End = fileSize;
        v.Require(Bytes > StreamMap.HeaderBytes && (Bytes - StreamMap.HeaderBytes) % StreamMap.RecordBytes == 0, 0x18, "size of the stream map");
    }

    /// <summary>Number of the chunk in its container.</summary>
    public uint LocalId { get; }

    /// <summary>First number in the name of the container, a file of the folder <c>Stream</c>.</summary>
    public uint ContainerId { get; }

    public uint Offset { get; }

    /// <summary>Bytes of the map: 8 and 64 for each chunk.</summary>
    public uint Bytes { get; }

    public byte[] Digest { get; }

    /// <summary>First byte of the file that this map stands for.</summary>
    public long Begin { get; }

    /// <summary>The byte behind the last.</summary>
    public long End { get; }
}
