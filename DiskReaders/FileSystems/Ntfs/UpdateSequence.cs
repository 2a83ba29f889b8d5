using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// MULTI_SECTOR_HEADER: a structure of several sectors ends each 512-byte stride with one number, whose true bytes are kept in an
/// array. A stride that ends otherwise was not written with the rest: the structure is torn.
/// Spec: Microsoft, MULTI_SECTOR_HEADER and "Update Sequence Array". Little-endian.
/// </summary>
internal static class UpdateSequence
{
    /// <summary>SEQUENCE_NUMBER_STRIDE; 512 whatever the sector size.</summary>
    public const int StrideBytes = 512;

    /// <summary>Puts the true bytes back in place; false when the structure is torn or its header is bad.</summary>
    public static bool TryApply(Span<byte> structure)
    {
        int offset = BinaryPrimitives.ReadUInt16LittleEndian(structure[4..]);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(structure[6..]);
        int strides = structure.Length / StrideBytes;
        if (size != strides + 1 || offset < 8 || (offset & 1) != 0 || offset + (2 * size) > StrideBytes - 2)
        {
            return false;
        }

        ReadOnlySpan<byte> array = structure.Slice(offset, 2 * size);
        ushort number = BinaryPrimitives.ReadUInt16LittleEndian(array);
        for (int i = 1; i <= strides; i++)
        {
            if (BinaryPrimitives.ReadUInt16LittleEndian(structure[((i * StrideBytes) - 2)..]) != number)
            {
                return false;
            }
        }

        for (int i = 1; i <= strides; i++)
        {
            array.Slice(2 * i, 2).CopyTo(structure[((i * StrideBytes) - 2)..]);
        }

        return true;
    }
}
