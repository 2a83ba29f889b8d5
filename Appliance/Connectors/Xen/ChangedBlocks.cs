namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>The bitmap of <c>VDI.list_changed_blocks</c>: a bit for every 64 KiB, the first in the highest bit of the first byte, in base64.</summary>
internal static class ChangedBlocks
{
    public const int BlockBytes = 64 << 10;

    /// <summary>Ranges in order; null where the bitmap is none, or does not cover the disk: then all of it may have changed.</summary>
    public static IReadOnlyList<ChangedRange>? Parse(string base64, long sizeBytes)
    {
        byte[] bits = new byte[(base64.Length / 4 * 3) + 3];
        long blocks = (sizeBytes / BlockBytes) + (sizeBytes % BlockBytes > 0 ? 1 : 0);
        if (!Convert.TryFromBase64String(base64, bits, out int count) || count * 8L < blocks)
        {
            return null;
        }

        List<ChangedRange> ranges = [];
        for (long block = 0; block < blocks; block++)
        {
            if ((bits[block / 8] & (0x80 >> (int)(block % 8))) == 0)
            {
                continue;
            }

            long at = block * BlockBytes, length = Math.Min(BlockBytes, sizeBytes - at);
            if (ranges.Count > 0 && ranges[^1].Offset + ranges[^1].Length == at)
            {
                ranges[^1] = new ChangedRange(ranges[^1].Offset, ranges[^1].Length + length);
            }
            else
            {
                ranges.Add(new ChangedRange(at, length));
            }
        }

        return ranges;
    }
}
