using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// Records of log-ins as glibc keeps them. Spec: Linux man-pages utmp(5) and glibc's bits/utmp.h and lastlog.h. Little-endian;
/// 384 bytes with 32-bit times (x86 and most), 400 with 64-bit ones (64-bit ARM).
/// </summary>
internal static class LogInRecords
{
    private const short BootTime = 2;
    private const short UserProcess = 7;
    private const int UserAt = 44;
    private const int UserBytes = 32;

    /// <summary>Older records than these few thousand tell of older log-ins.</summary>
    private const long MostBytes = 4 << 20;

    /// <summary>lastlog has a record for each uid; those above belong to directories of users, and the file is a hole up to them.</summary>
    private const long MostUsers = 100_000;

    private const int LastLogBytes = 292;

    /// <summary>The last boot and log-in of a wtmp file.</summary>
    public static (DateTimeOffset? Boot, DateTimeOffset? LogIn, string User) ReadWtmp(IBlockSource content, ReadContext context)
    {
        int size = content.Length % 384 == 0 ? 384 : content.Length % 400 == 0 ? 400 : 0;
        if (size == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "wtmp", content.Length, $"{content.Length} bytes are no number of whole records");
        }

        long first = Math.Max(0, content.Length - (MostBytes / size * size));
        using RentedBuffer buffer = context.Budget.Rent((int)(content.Length - first));
        content.Read(first, buffer.Span);
        DateTimeOffset? boot = null;
        DateTimeOffset? logIn = null;
        string user = "";
        for (int at = buffer.Length - size; at >= 0 && (boot is null || logIn is null); at -= size)
        {
            var v = new LeView(buffer.Span.Slice(at, size), "utmp", first + at);
            short type = (short)v.U16(0);
            if (type is BootTime or UserProcess && Time(size == 384 ? v.I32(340) : v.I64(344)) is { } time)
            {
                if (type == BootTime)
                {
                    boot ??= time;
                }
                else if (logIn is null)
                {
                    logIn = time;
                    user = Name(v.Field(UserAt, UserBytes));
                }
            }
        }

        return (boot, logIn, user);
    }

    /// <summary>The last boot and log-in of wtmpdb's database: ID, Type, User, Login in microseconds. Spec: wtmpdb(8) and its <c>wtmpdb.h</c>.</summary>
    public static (DateTimeOffset? Boot, DateTimeOffset? LogIn, string User) ReadWtmpdb(IBlockSource content, ReadContext context)
    {
        const int Boot = 1, User = 3;
        const int MostRowBytes = 4 << 10;
        const long MicrosecondsPerSecond = 1_000_000;
        long boot = 0;
        long logIn = 0;
        string user = "";
        SqliteTable.Read(content, context, "wtmp", MostRowBytes, row =>
        {
            long type = SqliteTable.Integer(row, 1);
            long time = SqliteTable.Integer(row, 3) / MicrosecondsPerSecond;
            if (type == Boot)
            {
                boot = Math.Max(boot, time);
            }
            else if (type == User && time > logIn)
            {
                logIn = time;
                user = Encoding.UTF8.GetString(SqliteTable.Column(row, 2, out _));
            }
        });
        return (Time(boot), Time(logIn), user);
    }

    /// <summary>The latest log-in of a lastlog file.</summary>
    public static DateTimeOffset? ReadLastLog(IBlockSource content, ReadContext context)
    {
        const int RecordsAtOnce = 200;
        long end = Math.Min(content.Length / LastLogBytes, MostUsers) * LastLogBytes;
        using RentedBuffer buffer = context.Budget.Rent(RecordsAtOnce * LastLogBytes);
        long latest = 0;
        for (long at = 0; at < end;)
        {
            context.ThrowIfCancelled();
            long hole = content.HoleLength(at, end - at) / LastLogBytes * LastLogBytes;
            if (hole > 0)
            {
                at += hole;
                continue;
            }

            int count = (int)Math.Min(buffer.Length, end - at);
            content.Read(at, buffer.Span[..count]);
            for (int i = 0; i < count; i += LastLogBytes)
            {
                latest = Math.Max(latest, new LeView(buffer.Span.Slice(i, LastLogBytes), "lastlog", at + i).U32(0));
            }

            at += count;
        }

        return Time(latest);
    }

    private static DateTimeOffset? Time(long seconds) =>
        seconds > 0 && seconds <= DateTimeOffset.MaxValue.ToUnixTimeSeconds() ? DateTimeOffset.FromUnixTimeSeconds(seconds) : null;

    private static string Name(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }
}
