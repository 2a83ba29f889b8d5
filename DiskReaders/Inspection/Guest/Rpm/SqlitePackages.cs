using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest.Rpm;

/// <summary>RPM's database in SQLite, file <c>rpmdb.sqlite</c>: the table <c>Packages</c>, whose second column is the header.</summary>
internal static class SqlitePackages
{
    /// <param name="package">Given the beginning of each package's header.</param>
    public static void Read(IBlockSource file, ReadContext context, Action<ReadOnlySpan<byte>> package) =>
        SqliteTable.Read(file, context, "Packages", RpmHeader.MostBytes, row => package(SqliteTable.Column(row, 1, out _)));
}
