using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest.Rpm;

/// <summary>
/// RPM's own database "ndb", file <c>Packages.db</c>: pages of slots, each of a package's number and where its header lies in blocks of 16
/// bytes. No other specification than rpm's <c>lib/backend/ndb</c>. Little-endian.
/// </summary>
internal static class NdbPackages
{
    private const uint Signature = 0x506D_7052;
    private const uint SlotSignature = 0x746F_6C53;
    private const uint BlobSignature = 0x5362_6C42;
    private const int PageBytes = 4096;
    private const int SlotBytes = 16;
    private const int HeaderSlots = 2;
    private const int BlobHeaderBytes = 16;

    /// <summary>Four million packages.</summary>
    private const uint MostSlotPages = 16 << 10;

    /// <param name="package">Given the beginning of each package's header.</param>
    public static void Read(IBlockSource file, ReadContext context, Action<ReadOnlySpan<byte>> package)
    {
        using RentedBuffer page = context.Budget.Rent(PageBytes);
        using RentedBuffer header = context.Budget.Rent(RpmHeader.MostBytes);
        if (file.Length < PageBytes)
        {
            throw new DiskFormatException(Fault.Truncated, "rpmpkg header", 0, $"{file.Length} bytes");
        }

        file.Read(0, page.Span);
        var v = new LeView(page.Span, "rpmpkg header", 0);
        v.Require(v.U32(0) == Signature, 0, "magic");
        uint pages = v.U32(12);
        v.Require(pages > 0 && pages <= MostSlotPages && pages * (long)PageBytes <= file.Length, 12, "slot pages");
        for (long at = 0; at < pages; at++)
        {
            context.ThrowIfCancelled();
            file.Read(at * PageBytes, page.Span);
            for (int slot = at == 0 ? HeaderSlots : 0; slot < PageBytes / SlotBytes; slot++)
            {
                var entry = new LeView(page.Span.Slice(slot * SlotBytes, SlotBytes), "rpmpkg slot", (at * PageBytes) + (slot * SlotBytes));
                entry.Require(entry.U32(0) == SlotSignature, 0, "magic");
                if (entry.U32(4) != 0)
                {
                    package(Blob(file, entry.U32(4), entry.U32(8) * (long)SlotBytes, header));
                }
            }
        }
    }

    private static ReadOnlySpan<byte> Blob(IBlockSource file, uint number, long offset, RentedBuffer buffer)
    {
        Span<byte> head = buffer.Span[..BlobHeaderBytes];
        Bounds.Check(offset, head.Length, file.Length, "rpmpkg blob");
        file.Read(offset, head);
        var v = new LeView(head, "rpmpkg blob", offset);
        v.Require(v.U32(0) == BlobSignature && v.U32(4) == number, 0, "magic");
        int length = (int)Math.Min(v.U32(12), (uint)buffer.Span.Length);
        Bounds.Check(offset + BlobHeaderBytes, length, file.Length, "rpmpkg blob");
        file.Read(offset + BlobHeaderBytes, buffer.Span[..length]);
        return buffer.Span[..length];
    }
}
