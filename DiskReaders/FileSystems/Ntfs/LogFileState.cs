using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// Tells from the restart pages of <c>$LogFile</c> whether the volume was unmounted. Spec: LFS_RESTART_PAGE_HEADER and
/// LFS_RESTART_AREA as in the documentation of the Linux-NTFS project, "$LogFile". Little-endian.
/// </summary>
internal static class LogFileState
{
    private const int MaxPageBytes = 64 << 10;
    private const ushort NoClient = 0xFFFF;
    private const ushort VolumeIsClean = 0x0002;

    /// <summary>
    /// True when records may not have reached the volume: the newest restart page has an open client and is not marked clean. False
    /// for a log that is clean, empty (all ones, as other drivers leave it) or has no restart page at all.
    /// </summary>
    public static bool HasUnflushedRecords(IBlockSource log, ReadContext context)
    {
        ulong newest = 0;
        bool dirty = false;
        long offset = 0;
        for (int page = 0; page < 2; page++)
        {
            if (ReadPage(log, offset, context) is not { } read)
            {
                // The second page stands one system page behind the first, of which only the first tells the size.
                offset = offset == 0 ? 4096 : log.Length;
                continue;
            }

            if (read.Lsn >= newest)
            {
                newest = read.Lsn;
                dirty = read.Dirty;
            }

            offset = page == 0 ? read.PageBytes : log.Length;
        }

        return dirty;
    }

    private static (ulong Lsn, bool Dirty, int PageBytes)? ReadPage(IBlockSource log, long offset, ReadContext context)
    {
        Span<byte> header = stackalloc byte[32];
        if (offset > log.Length - header.Length)
        {
            return null;
        }

        log.Read(offset, header);
        var v = new LeView(header, "LFS_RESTART_PAGE_HEADER", offset);
        uint bytes = v.U32(0x10);
        if (!v.Field(0, 4).SequenceEqual("RSTR"u8) || bytes is < 512 or > MaxPageBytes || bytes % 512 != 0 || bytes > log.Length - offset)
        {
            return null;
        }

        using RentedBuffer page = context.Budget.Rent((int)bytes);
        log.Read(offset, page.Span);
        int area = v.U16(0x18);
        if (!UpdateSequence.TryApply(page.Span) || area > bytes - 0x30)
        {
            return null;
        }

        var restart = new LeView(page.Span[area..], "LFS_RESTART_AREA", offset + area);
        bool clean = restart.U16(12) == NoClient || (restart.U16(14) & VolumeIsClean) != 0;
        return (restart.U64(0), !clean, (int)bytes);
    }
}
