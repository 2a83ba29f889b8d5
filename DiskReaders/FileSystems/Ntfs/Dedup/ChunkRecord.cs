using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>How a chunk's bytes are packed: RtlCompressBuffer's methods, numbered anew.</summary>
internal enum ChunkPacking : uint
{
    None = 0,
    Lznt1 = 1,
    Xpress = 2,
    XpressHuffman = 3,
}

/// <summary>
/// "Ckhr", the header of a chunk in a container; its bytes follow. Little-endian; 88 bytes in containers of data, 104 in those of
/// stream maps. Sources: as <see cref="DedupReparse"/>.
/// </summary>
internal readonly ref struct ChunkRecord
{
    public const int DataHeaderBytes = 0x58;
    public const int StreamHeaderBytes = 0x68;
    public const int DataDigestBytes = 32;

    private const uint Signature = 0x7268_6B43;
    private readonly LeView _v;

    public ChunkRecord(LeView v) => _v = v;

    public bool IsChunk => _v.U32(0x00) == Signature;

    public uint LocalId => _v.U32(0x08);

    public uint StoredBytes => _v.U32(0x0C);

    public ChunkPacking Packing => (ChunkPacking)_v.U32(0x20);

    /// <summary>SHA-256 of the unpacked bytes, in containers of data.</summary>
    public ReadOnlySpan<byte> DataDigest => _v.Field(0x28, DataDigestBytes);

    public ReadOnlySpan<byte> StreamDigest => _v.Field(0x38, StreamMapReference.DigestBytes);
}
