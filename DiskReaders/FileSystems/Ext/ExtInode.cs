using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

[Flags]
internal enum ExtInodeFlags : uint
{
    Encrypted = 0x800,
    Index = 0x1000,
    Extents = 0x8_0000,
    Verity = 0x10_0000,
    EaInode = 0x20_0000,
    InlineData = 0x1000_0000,
    CaseFold = 0x4000_0000,
}

/// <summary>
/// <c>struct ext4_inode</c>. Specification: "ext4 Data Structures and Algorithms", "Index Nodes". Little-endian; 128 bytes in the first version,
/// <c>s_inode_size</c> today.
/// </summary>
internal readonly ref struct ExtInode(ReadOnlySpan<byte> bytes)
{
    public const int BlockFieldOffset = 0x28;
    public const int BlockFieldBytes = 60;
    private const int GoodOldBytes = 128;
    private const int ChecksumLow = 0x7C;
    private const int ChecksumHigh = 0x82;

    public const ushort TypeMask = 0xF000;
    public const ushort TypeFifo = 0x1000;
    public const ushort TypeCharacter = 0x2000;
    public const ushort TypeFolder = 0x4000;
    public const ushort TypeBlock = 0x6000;
    public const ushort TypeRegular = 0x8000;
    public const ushort TypeLink = 0xA000;
    public const ushort TypeSocket = 0xC000;

    private readonly ReadOnlySpan<byte> _bytes = bytes;

    public ReadOnlySpan<byte> Bytes => _bytes;

    public ushort Mode => U16(0x0);

    public int Type => Mode & TypeMask;

    public uint Uid => U16(0x2) | ((uint)U16(0x78) << 16);

    public ulong Size => U32(0x4) | ((ulong)U32(0x6C) << 32);

    public uint SizeLow => U32(0x4);

    public uint DeletionTime => U32(0x14);

    public ushort LinksCount => U16(0x1A);

    public ulong Blocks => U32(0x1C) | ((ulong)U16(0x74) << 32);

    public ExtInodeFlags Flags => (ExtInodeFlags)U32(0x20);

    /// <summary><c>i_block</c>: block pointers, the root of the extent tree, a short link's target or inline data.</summary>
    public ReadOnlySpan<byte> BlockField => _bytes.Slice(BlockFieldOffset, BlockFieldBytes);

    public uint Generation => U32(0x64);

    public ulong FileAcl => U32(0x68) | ((ulong)U16(0x76) << 32);

    /// <summary>Bytes that the fields beyond the first 128 take; 0 where there is no room for them.</summary>
    public int ExtraBytes => _bytes.Length > GoodOldBytes ? U16(0x80) : 0;

    /// <summary>"Inode Checksums": UUID, number, generation, and the inode with its checksum as zero; 16 bits where it has no upper half.</summary>
    public bool ChecksumGood(uint seed, uint number)
    {
        uint state = Checksum(seed, number, out bool high);
        return high ? state == (U16(ChecksumLow) | ((uint)U16(ChecksumHigh) << 16)) : (state & 0xFFFF) == U16(ChecksumLow);
    }

    /// <summary>Gives an inode that was changed its checksum.</summary>
    public static void WriteChecksum(Span<byte> inode, uint seed, uint number)
    {
        uint sum = new ExtInode(inode).Checksum(seed, number, out bool high);
        BinaryPrimitives.WriteUInt16LittleEndian(inode[ChecksumLow..], (ushort)(sum & 0xFFFF));
        if (high)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(inode[ChecksumHigh..], (ushort)(sum >> 16));
        }
    }

    private uint Checksum(uint seed, uint number, out bool high)
    {
        uint state = NodeSeed(seed, number);
        high = ExtraBytes >= ChecksumHigh + 2 - GoodOldBytes;
        ReadOnlySpan<byte> zero = [0, 0];
        state = Crc32C.Update(state, _bytes[..ChecksumLow]);
        state = Crc32C.Update(state, zero);
        if (high)
        {
            state = Crc32C.Update(state, _bytes[(ChecksumLow + 2)..ChecksumHigh]);
            state = Crc32C.Update(state, zero);
            return Crc32C.Update(state, _bytes[(ChecksumHigh + 2)..]);
        }

        return Crc32C.Update(state, _bytes[(ChecksumLow + 2)..]);
    }

    /// <summary>What every checksum of the inode's own blocks begins with.</summary>
    public uint NodeSeed(uint seed, uint number)
    {
        Span<byte> word = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(word, number);
        BinaryPrimitives.WriteUInt32LittleEndian(word[4..], Generation);
        return Crc32C.Update(seed, word);
    }

    /// <summary>
    /// Finds the value of the attribute <c>system.data</c> in the inode's own attribute space ("Inline Data", "Extended Attributes"):
    /// its offset in the inode and its length. False when there is none; an attribute list that contradicts itself is Corrupt.
    /// </summary>
    public bool FindInlineValue(long inodeOffset, out int offset, out int length)
    {
        const uint Magic = 0xEA02_0000;
        const int EntryBytes = 16;
        const int SystemIndex = 7;
        offset = length = 0;
        int header = GoodOldBytes + ExtraBytes;
        if (_bytes.Length <= GoodOldBytes || header + 4 > _bytes.Length || U32(header) != Magic)
        {
            return false;
        }

        var v = new LeView(_bytes, "ext4_xattr_entry", inodeOffset);
        int first = header + 4;
        int at = first;
        while (at + 4 <= _bytes.Length && U32(at) != 0)
        {
            int nameBytes = v.U8(at);
            ReadOnlySpan<byte> name = v.Field(at + EntryBytes, nameBytes);
            if (v.U8(at + 1) == SystemIndex && name.SequenceEqual("data"u8))
            {
                if (v.U32(at + 4) != 0)
                {
                    throw v.Unsupported(at + 4, "system.data in an inode of its own");
                }

                int valueOffset = v.U16(at + 2);
                uint size = v.U32(at + 8);
                v.Require(size <= (uint)_bytes.Length && (size == 0 || first + valueOffset + (long)size <= _bytes.Length), at + 8, "e_value_size");
                offset = size == 0 ? first : first + valueOffset;
                length = (int)size;
                return true;
            }

            at += (EntryBytes + nameBytes + 3) & ~3;
        }

        return false;
    }

    private ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(_bytes[at..]);

    private uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[at..]);
}
