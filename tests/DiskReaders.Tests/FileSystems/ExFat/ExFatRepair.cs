using System.Buffers.Binary;
using Vmsweep.DiskReaders.FileSystems.ExFat;

namespace Vmsweep.DiskReaders.Tests.FileSystems.ExFat;

/// <summary>Makes checksums right after a change, so that what lies behind them is reached.</summary>
internal static class ExFatRepair
{
    private const int EntryBytes = 32;

    /// <summary>Makes the checksum of every set and of both boot regions right.</summary>
    public static void Checksums(byte[] image)
    {
        int heap = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(88)) << image[108];
        int sector = 1 << image[108];
        for (int region = 0; region < 2; region++)
        {
            int at = region * ExFatBootSector.RegionSectors * sector;
            uint sum = ExFatBootSector.Checksum(image.AsSpan(at, 11 * sector));
            for (int i = 0; i < sector; i += 4)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(at + (11 * sector) + i), sum);
            }
        }

        for (int at = heap; at + (3 * EntryBytes) <= image.Length; at += EntryBytes)
        {
            // Three entries' types: two would also be met in a file's random content, which this would then change.
            int length = (image[at + 1] + 1) * EntryBytes;
            if (image[at] == 0x85 && image[at + EntryBytes] == 0xC0 && image[at + (2 * EntryBytes)] == 0xC1 && at + length <= image.Length)
            {
                BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(at + 2), ExFatFolderReader.SetChecksum(image.AsSpan(at, length)));
            }
        }
    }
}
