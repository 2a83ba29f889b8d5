using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ext;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>Recomputes the checksums of an ext4 with 1 KiB blocks and one group after it was changed on purpose.</summary>
internal static class ExtRepair
{
    public static void Checksums(byte[] image)
    {
        Span<byte> super = image.AsSpan(1024, 1024);
        var roCompat = (ExtRoCompat)BinaryPrimitives.ReadUInt32LittleEndian(super[0x64..]);
        if (!roCompat.HasFlag(ExtRoCompat.MetadataChecksum))
        {
            return;
        }

        uint seed = Crc32C.Update(uint.MaxValue, super.Slice(0x68, 16));
        BinaryPrimitives.WriteUInt32LittleEndian(super[0x3FC..], Crc32C.Update(uint.MaxValue, super[..0x3FC]));
        bool wide = (BinaryPrimitives.ReadUInt32LittleEndian(super[0x60..]) & 0x80) != 0;
        Span<byte> group = image.AsSpan(2048, wide ? 64 : 32);
        group[0x1E] = group[0x1F] = 0;
        ReadOnlySpan<byte> number = [0, 0, 0, 0];
        BinaryPrimitives.WriteUInt16LittleEndian(group[0x1E..], (ushort)(Crc32C.Update(Crc32C.Update(seed, number), group) & 0xFFFF));
        int table = checked((int)BinaryPrimitives.ReadUInt32LittleEndian(group[8..]) * 1024);
        int inodeBytes = BinaryPrimitives.ReadUInt16LittleEndian(super[0x58..]);
        uint inodes = BinaryPrimitives.ReadUInt32LittleEndian(super);
        for (uint i = 0; i < Math.Min(inodes, 128); i++)
        {
            Inode(image.AsSpan(table + (int)(i * inodeBytes), inodeBytes), i + 1, seed);
        }
    }

    /// <summary>Recomputes the checksum of each fast commit's tail.</summary>
    public static void FastCommits(byte[] image, IEnumerable<long> blocks)
    {
        uint crc = 0;
        foreach (long block in blocks)
        {
            Span<byte> bytes = image.AsSpan((int)block * 1024, 1024);
            for (int at = 0; at < bytes.Length - 4;)
            {
                int tag = BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);
                int length = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(at + 2)..]);
                if (tag == 8)
                {
                    crc = Crc32C.Update(crc, bytes.Slice(at, 8));
                    BinaryPrimitives.WriteUInt32LittleEndian(bytes[(at + 8)..], crc);
                    crc = 0;
                }
                else
                {
                    crc = Crc32C.Update(crc, bytes.Slice(at, 4 + length));
                }

                at += 4 + length;
            }
        }
    }

    private static void Inode(Span<byte> inode, uint number, uint seed)
    {
        Span<byte> words = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(words, number);
        inode.Slice(0x64, 4).CopyTo(words[4..]);
        inode[0x7C] = inode[0x7D] = 0;
        bool high = inode.Length > 128 && BinaryPrimitives.ReadUInt16LittleEndian(inode[0x80..]) >= 4;
        if (high)
        {
            inode[0x82] = inode[0x83] = 0;
        }

        uint sum = Crc32C.Update(Crc32C.Update(seed, words), inode);
        BinaryPrimitives.WriteUInt16LittleEndian(inode[0x7C..], (ushort)(sum & 0xFFFF));
        if (high)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(inode[0x82..], (ushort)(sum >> 16));
        }
    }
}
