using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>
/// Blocks that the newest shadow copy need not keep: nothing used them when it was made. Windows does not say what they read as; here
/// they are zeros. Spec: J. Metz, "Volume Shadow Snapshot (VSS) format", "Store bitmap".
/// </summary>
internal sealed class UnusedBlocks : IDisposable
{
    private const int BytesOfBlock = VssBlock.Size - VssBlock.HeaderBytes;
    private readonly RentedBuffer _bits;

    private UnusedBlocks(RentedBuffer bits) => _bits = bits;

    /// <summary>Reads the bitmap; with a previous one only what both name.</summary>
    public static UnusedBlocks Read(IBlockSource volume, CatalogEntry entry, long length, ReadContext context)
    {
        RentedBuffer bits = ReadBits(volume, entry.BitmapOffset, length, context);
        try
        {
            if (entry.PreviousBitmapOffset != 0)
            {
                using RentedBuffer previous = ReadBits(volume, entry.PreviousBitmapOffset, length, context);
                for (int i = 0; i < bits.Length; i++)
                {
                    bits.Span[i] &= previous.Span[i];
                }
            }

            return new UnusedBlocks(bits);
        }
        catch
        {
            bits.Dispose();
            throw;
        }
    }

    public bool Contains(long block)
    {
        long number = block / VssBlock.Size;
        return number / 8 < _bits.Length && (_bits.Span[(int)(number / 8)] >> (int)(number % 8) & 1) != 0;
    }

    public void Dispose() => _bits.Dispose();

    private static RentedBuffer ReadBits(IBlockSource volume, long offset, long length, ReadContext context)
    {
        long bytes = (length / VssBlock.Size / 8) + 1;
        if (bytes > Array.MaxLength)
        {
            throw new DiskFormatException(Fault.Limit, "VSS bitmap", offset, $"a bitmap of {bytes} bytes");
        }

        RentedBuffer bits = context.Budget.Rent((int)bytes);
        try
        {
            // Bits that are not there say that the block is in use.
            bits.Span.Clear();
            int at = 0;
            VssBlock.ForEach(volume, offset, VssRecord.Bitmap, "VSS bitmap", (bytes / BytesOfBlock) + 1, context, (block, _) =>
            {
                int count = Math.Min(BytesOfBlock, bits.Length - at);
                block.Field(VssBlock.HeaderBytes, count).CopyTo(bits.Span[at..]);
                at += count;
                return at < bits.Length;
            });
            return bits;
        }
        catch
        {
            bits.Dispose();
            throw;
        }
    }
}
