using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>Content in chunks, each placed by an entry of a block map (4 bytes) or of indexes (8 bytes, <c>struct erofs_inode_chunk_index</c>) behind the inode.</summary>
internal sealed class ChunkMap : IExtentMap
{
    private const int ShiftMask = 0x1F;
    private const int Indexes = 0x20;
    private const int KnownFormat = ShiftMask | Indexes;
    private const uint Hole = uint.MaxValue;
    private const int MostCoalesced = 256;

    private readonly ErofsVolume _volume;
    private readonly int _chunkShift;
    private readonly int _entryBytes;
    private readonly long _entries;

    /// <exception cref="DiskFormatException">The entries do not lie on the volume, or are of a kind that is not known.</exception>
    public ChunkMap(ErofsVolume volume, ErofsInode inode)
    {
        _volume = volume;
        Length = inode.SizeBytes;
        int format = (int)(inode.Union & 0xFFFF);
        if ((format & ~KnownFormat) != 0)
        {
            throw new DiskFormatException(Fault.Unsupported, "erofs_inode_chunk_info", inode.Position, $"chunk format 0x{format:X}");
        }

        _chunkShift = Math.Min(62, volume.Super.BlockShift + (format & ShiftMask));
        _entryBytes = (format & Indexes) != 0 ? 8 : 4;
        _entries = (inode.End + _entryBytes - 1) / _entryBytes * _entryBytes;
        long chunks = ((Length - 1) >> _chunkShift) + 1;
        if (chunks > volume.Source.Length / _entryBytes)
        {
            throw new DiskFormatException(Fault.Truncated, "erofs chunk index", _entries, $"{chunks} chunks");
        }

        Bounds.Check(_entries, chunks * _entryBytes, volume.Source.Length, "erofs chunk index");
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        long chunk = offset >> _chunkShift;
        long within = offset - (chunk << _chunkShift);
        uint block = Entry(chunk);
        long length = Math.Min(count, Math.Min(Length - offset, (1L << _chunkShift) - within));
        if (block == Hole)
        {
            for (int i = 0; i < MostCoalesced && length < count && Entry(++chunk) == Hole; i++)
            {
                length = Math.Min(count, length + (1L << _chunkShift));
            }

            return new Extent(ExtentKind.Hole, length);
        }

        long at = ((long)block << _volume.Super.BlockShift) + within;
        Bounds.Check(at, length, _volume.Source.Length, "erofs chunk");
        return new Extent(ExtentKind.Data, length, at);
    }

    /// <summary>Where the first chunk is stored; -1 when it is a hole.</summary>
    public long FirstByte => Entry(0) is uint block and not Hole ? (long)block << _volume.Super.BlockShift : -1;

    private uint Entry(long chunk)
    {
        Span<byte> bytes = stackalloc byte[8];
        bytes = bytes[.._entryBytes];
        _volume.ReadMetadata(_entries + (chunk * _entryBytes), bytes, "erofs chunk index");
        uint block = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(_entryBytes - 4)..]);
        if (block != Hole)
        {
            _volume.Devices.RequirePrimary(_entryBytes == 8 ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]) : 0, block);
        }

        return block;
    }
}
