using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;

/// <summary>A small volume with shadow copies of every kind, and all that can be read of them.</summary>
internal static class VssReading
{
    private const int Block = VssImage.Block;

    public static IReadOnlyList<byte[]> Seeds => [Sound()];

    public static VssImage Everything()
    {
        var image = new VssImage(48);
        VssImage.Store first = image.Snapshot();
        image.Write(6, 0x11);
        image.Describe(first, 9 * Block, 0, image.Data(0xA2), 2, 0x8000_0001);
        image.Describe(first, 12 * Block, 20 * Block, 0, 1, 0);
        image.Describe(first, 13 * Block, 21 * Block, 0, 1, 0);
        image.Describe(first, 21 * Block, 0, image.Data(0xB1), 0, 0);
        image.Snapshot(withUnused: true);
        image.Write(20, 0x22);
        image.Write(7, 0x33);
        return image;
    }

    public static byte[] Sound() => Everything().Bytes;

    public static void ReadAll(byte[] volume, ReadContext context)
    {
        using var source = new MemorySource(volume);
        Read(source, context);
    }

    /// <summary>Lists and reads every shadow copy.</summary>
    public static void Read(IBlockSource source, ReadContext context)
    {
        byte[] buffer = new byte[Block];
        foreach (VolumeSnapshot snapshot in ShadowCopies.List(source, context))
        {
            try
            {
                using IBlockSource copy = ShadowCopies.Open(source, snapshot.Id, context);
                for (long at = 0; at < copy.Length; at += buffer.Length)
                {
                    copy.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, copy.Length - at)));
                    copy.Locate(at, copy.Length - at);
                }
            }
            catch (DiskFormatException)
            {
                // The next shadow copy may be sound.
            }
        }
    }
}
