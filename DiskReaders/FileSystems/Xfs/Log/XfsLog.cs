using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>Opens the log of a file system and, where it was not unmounted, finds what a replay of the log would write.</summary>
internal static class XfsLog
{
    private const byte UnmountFlag = 0x20;
    private const int OperationFlags = 9;

    /// <summary>What the log changes; null, and a gap where that is not sure, when it changes nothing.</summary>
    public static LogPatches? Replay(XfsSuperblock super, IBlockSource volume, ReadContext context, List<string> notes)
    {
        if (super.LogStart == 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", "log", -1, 0, "the log lies on another device: the newest changes may be missing"));
            return null;
        }

        LogPatches? patches = null;
        try
        {
            using var plain = new XfsVolume(super, volume, context);
            var area = new LogArea(volume, context, super, plain.ByteOf(super.LogStart, super.LogBlocks, "log", 48));
            if (area.FindLast() is not { } last || IsClean(area, last))
            {
                return null;
            }

            patches = new LogPatches(volume, context.Budget);
            var replay = new LogReplay(super, context, plain, patches);
            Run(area, last, replay, super, context);
            if (replay.Transactions > 0)
            {
                notes.Add(string.Create(CultureInfo.InvariantCulture, $"log replayed: {replay.Transactions} transactions"));
            }

            replay.ReportUnfinished(notes);
            LogPatches? kept = patches.Count > 0 || patches.NewOwners.Count > 0 ? patches : null;
            patches = kept is null ? patches : null;
            return kept;
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"the log was not replayed, so the newest changes may be missing: {e.Detail}" });
            return null;
        }
        finally
        {
            patches?.Dispose();
        }
    }

    // "Log Records": unmounting writes a record of one operation as the last one.
    private static bool IsClean(LogArea area, (int At, LogRecord Record, int End) last)
    {
        if (last.Record.Operations != 1)
        {
            return false;
        }

        using RentedBuffer buffer = area.Rent(last.Record);
        return area.Fault(last.At, last.Record, buffer.Span) is null
            && LogArea.Unpack(last.Record, buffer.Span) is { Length: > OperationFlags } data
            && (data[OperationFlags] & UnmountFlag) != 0;
    }

    // Two passes over the same records: buffers that a later transaction cancels must be known before anything is written.
    private static void Run(LogArea area, (int At, LogRecord Record, int End) last, LogReplay replay, XfsSuperblock super, ReadContext context)
    {
        if ((super.LogIncompat & ~(uint)XfsLogIncompat.LoggedAttributes) != 0)
        {
            throw new DiskFormatException(Fault.Unsupported, "xfs_dsb", 220, $"unknown features of the log 0x{super.LogIncompat:X}");
        }

        ulong tail = last.Record.TailLsn;
        tail &= uint.MaxValue;
        if (tail >= (ulong)area.Sectors)
        {
            throw new DiskFormatException(Fault.Corrupt, "xlog_rec_header", area.OffsetOf(last.At), "bad h_tail_lsn");
        }

        bool isWhole = true;
        foreach (bool first in (ReadOnlySpan<bool>)[true, false])
        {
            replay.Begin(first);
            try
            {
                isWhole = Walk(area, (int)tail, last, replay, super, context, isWhole);
            }
            finally
            {
                replay.End();
            }
        }
    }

    private static bool Walk(LogArea area, int tail, (int At, LogRecord Record, int End) last, LogReplay replay, XfsSuperblock super, ReadContext context, bool report)
    {
        using RentedBuffer buffer = context.Budget.Rent(LogRecord.MostBytes + (9 * LogRecord.SectorBytes));
        int left = area.Distance(tail, last.At) + last.Record.Sectors;
        for (int at = tail; left > 0;)
        {
            context.ThrowIfCancelled();
            try
            {
                LogRecord record = area.HeaderAt(at);
                string? fault = record.Sectors > left ? "bad h_len"
                    : record.Uuid != super.Uuid && record.Uuid != Guid.Empty ? "it is of another file system"
                    : area.Fault(at, record, buffer.Span);
                if (fault is not null)
                {
                    throw new DiskFormatException(Fault.Corrupt, "xlog_rec_header", area.OffsetOf(at), fault);
                }

                if (record.Format != 1)
                {
                    throw new DiskFormatException(Fault.Unsupported, "xlog_rec_header", area.OffsetOf(at) + 300, $"a log of a machine of another byte order (format {record.Format})");
                }

                replay.Record(record, LogArea.Unpack(record, buffer.Span), area.OffsetOf(at));
                left -= record.Sectors;
                at = (at + record.Sectors) % area.Sectors;
            }
            catch (DiskFormatException e) when (e.Fault != Fault.Limit)
            {
                if (report)
                {
                    context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; the log is not replayed beyond it, so the newest changes may be missing" });
                }

                return false;
            }
        }

        return true;
    }
}
