using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>
/// A Windows registry hive with its transaction logs applied. Spec: M. Suhanov, "Windows registry file format specification",
/// sections "Hive bin" to "Big data"; little-endian. Nothing is written, and nothing is healed: what is broken is a fault where it is read.
/// </summary>
internal sealed class Hive : IDisposable
{
    /// <summary>Cells read of one hive. A real SOFTWARE hive has a million; only a few thousand are asked for.</summary>
    private const int MostVisits = 4_000_000;

    private const string CellStructure = "registry cell";
    private const int CellHeaderBytes = 4;
    private const int CellAlignment = 8;

    private readonly HiveBytes _bytes;
    private readonly ReadContext _context;
    private int _visits;

    private Hive(HiveBytes bytes, BaseBlock block, int applied, ReadContext context)
    {
        _bytes = bytes;
        _context = context;
        Block = block;
        LogEntriesApplied = applied;
    }

    public BaseBlock Block { get; }

    /// <summary>Entries of logs, or whole old logs, that were put over the hive.</summary>
    public int LogEntriesApplied { get; }

    /// <summary>Big data is used from version 1.4 on.</summary>
    public bool HasBigData => Block.MinorVersion > 3;

    public HiveKey Root => HiveKey.Read(this, Block.RootCellOffset);

    /// <param name="primary">The hive's own file; not owned, as the logs are not.</param>
    /// <param name="logs">Its logs, <c>.LOG1</c> before <c>.LOG2</c>.</param>
    public static Hive Open(IBlockSource primary, IReadOnlyList<IBlockSource> logs, ReadContext context)
    {
        BaseBlock block = BaseBlock.Read(primary);
        var bytes = new HiveBytes(primary, context);
        try
        {
            int applied = 0;
            if (!block.IsClean)
            {
                block = HiveLog.Apply(block, HiveLog.Of(logs, bytes), bytes, context, out applied);
            }
            else
            {
                block.RequirePrimary();
                bytes.Length = block.HiveBinsBytes;
            }

            return new Hive(bytes, block, applied, context);
        }
        catch
        {
            bytes.Dispose();
            throw;
        }
    }

    /// <summary>The key at a path below the root, names separated by <c>\</c>; null when it is not there.</summary>
    public HiveKey? Find(string path)
    {
        HiveKey? key = Root;
        foreach (string name in path.Split('\\'))
        {
            key = key?.Child(name);
        }

        return key;
    }

    public void Dispose() => _bytes.Dispose();

    /// <summary>The data of an allocated cell, from its beginning, at most <paramref name="most"/> bytes of it.</summary>
    /// <param name="offset">In the bins data.</param>
    /// <param name="structure">What it is read as.</param>
    internal RentedBuffer Cell(uint offset, int most, string structure)
    {
        int size = CellBytes(offset, structure);
        RentedBuffer data = _context.Budget.Rent(Math.Min(size, most));
        try
        {
            _bytes.Read((long)offset + CellHeaderBytes, data.Span);
            return data;
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    /// <summary>The place of a structure in the hive's file, for faults.</summary>
    internal static long FileOffset(uint cell) => (long)BaseBlock.Size + cell + CellHeaderBytes;

    private int CellBytes(uint offset, string structure)
    {
        _context.ThrowIfCancelled();
        if (++_visits > MostVisits)
        {
            throw new DiskFormatException(Fault.Limit, structure, FileOffset(offset), $"more than {MostVisits} cells were asked for");
        }

        if (offset % CellAlignment != 0 || offset > _bytes.Length - CellHeaderBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, structure, FileOffset(offset), $"a cell offset of 0x{offset:x}, the bins have 0x{_bytes.Length:x} bytes");
        }

        Span<byte> header = stackalloc byte[CellHeaderBytes];
        _bytes.Read(offset, header);
        var v = new LeView(header, CellStructure, BaseBlock.Size + (long)offset);
        int size = v.I32(0);
        if (size >= -CellHeaderBytes || -(long)size > _bytes.Length - offset)
        {
            throw v.Corrupt(0, "Size");
        }

        return -size - CellHeaderBytes;
    }
}
