using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// A table of an SQLite database, from first row to last. Spec: SQLite, "Database File Format". Big-endian. A journal or write-ahead log that
/// was left is not looked at.
/// </summary>
internal sealed class SqliteTable
{
    private const int HeaderBytes = 100;
    private const byte InteriorTable = 5;
    private const byte LeafTable = 13;

    /// <summary>A tree of pages that each lead to two others and more.</summary>
    private const int MostDepth = 40;

    private const int SchemaBytes = 8 << 10;

    private readonly IBlockSource _file;
    private readonly ReadContext _context;
    private readonly int _pageBytes;
    private readonly int _usable;
    private readonly long _pages;
    private long _visitsLeft;

    private SqliteTable(IBlockSource file, ReadContext context)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        if (file.Length < 512)
        {
            throw new DiskFormatException(Fault.Truncated, "database header", 0, $"{file.Length} bytes");
        }

        file.Read(0, header);
        int pageBytes = BinaryPrimitives.ReadUInt16BigEndian(header[16..]);
        _pageBytes = pageBytes == 1 ? 64 << 10 : pageBytes;
        _usable = _pageBytes - header[20];
        if (!header.StartsWith("SQLite format 3\0"u8) || _pageBytes < 512 || !BitOperations.IsPow2(_pageBytes) || _usable < 480)
        {
            throw new DiskFormatException(Fault.Corrupt, "database header", 0, $"pages of {_pageBytes} bytes, {header[20]} of them reserved");
        }

        _file = file;
        _context = context;
        _pages = file.Length / _pageBytes;
        _visitsLeft = _pages;
    }

    public delegate void Row(ReadOnlySpan<byte> record);

    /// <param name="name">The table's.</param>
    /// <param name="mostBytes">As much of each row is handed on.</param>
    /// <param name="row">Given each row as a record.</param>
    public static void Read(IBlockSource file, ReadContext context, string name, int mostBytes, Row row)
    {
        var database = new SqliteTable(file, context);
        byte[] wanted = Encoding.UTF8.GetBytes(name);
        uint root = 0;
        using (RentedBuffer record = context.Budget.Rent(SchemaBytes))
        {
            // type, name, tbl_name, rootpage, sql
            database.Walk(1, 0, record, schema => root = Column(schema, 0, out _).SequenceEqual("table"u8) && Column(schema, 1, out _).SequenceEqual(wanted) ? (uint)Integer(schema, 3) : root);
        }

        if (root == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "sqlite_schema", HeaderBytes, $"no table {name}");
        }

        database._visitsLeft = database._pages;
        using RentedBuffer buffer = context.Budget.Rent(mostBytes);
        database.Walk(root, 0, buffer, row);
    }

    /// <summary>A column's whole number; 0 where it is none.</summary>
    public static long Integer(ReadOnlySpan<byte> record, int wanted)
    {
        ReadOnlySpan<byte> bytes = Column(record, wanted, out ulong type);
        if (type is 0 or > 6)
        {
            return type == 9 ? 1 : 0;
        }

        long value = bytes.Length > 0 ? (sbyte)bytes[0] : 0;
        foreach (byte b in bytes[Math.Min(1, bytes.Length)..])
        {
            value = unchecked((value << 8) | b);
        }

        return value;
    }

    /// <summary>A column's bytes, as far as they are at hand.</summary>
    public static ReadOnlySpan<byte> Column(ReadOnlySpan<byte> record, int wanted, out ulong type)
    {
        int at = 0;
        type = 0;
        ulong headerBytes = Varint(record, ref at);
        if (headerBytes > (ulong)record.Length)
        {
            return [];
        }

        ulong data = headerBytes;
        for (int column = 0; at < (int)headerBytes; column++)
        {
            type = Varint(record[..(int)headerBytes], ref at);
            ulong bytes = type switch
            {
                <= 4 => type,
                5 => 6,
                6 or 7 => 8,
                < 12 => 0,
                _ => (type - 12) / 2,
            };
            if (data >= (ulong)record.Length)
            {
                return [];
            }

            if (column == wanted)
            {
                return record.Slice((int)data, (int)Math.Min(bytes, (ulong)record.Length - data));
            }

            data = bytes > long.MaxValue ? ulong.MaxValue : unchecked(data + bytes);
        }

        return [];
    }

    /// <summary>Up to nine bytes of seven bits each, the highest first; the ninth has eight.</summary>
    private static ulong Varint(ReadOnlySpan<byte> bytes, ref int at)
    {
        ulong value = 0;
        for (int i = 0; i < 9 && at < bytes.Length; i++)
        {
            byte b = bytes[at++];
            if (i == 8)
            {
                return (value << 8) | b;
            }

            value = (value << 7) | (uint)(b & 0x7F);
            if (b < 0x80)
            {
                return value;
            }
        }

        return value;
    }

    private static DiskFormatException Corrupt(long page, string detail) => new(Fault.Corrupt, "b-tree page", -1, $"page {page}: {detail}");

    private void Walk(long number, int depth, RentedBuffer record, Row row)
    {
        // Each page has one place in one tree.
        if (number < 1 || number > _pages || depth > MostDepth || --_visitsLeft < 0)
        {
            throw Corrupt(number, depth > MostDepth || _visitsLeft < 0 ? "the tree leads back to itself" : $"no such page of {_pages}");
        }

        _context.ThrowIfCancelled();
        using RentedBuffer buffer = _context.Budget.Rent(_pageBytes);
        ReadOnlySpan<byte> page = buffer.Span;
        _file.Read((number - 1) * _pageBytes, buffer.Span);
        int start = number == 1 ? HeaderBytes : 0;
        byte type = page[start];
        int cells = BinaryPrimitives.ReadUInt16BigEndian(page[(start + 3)..]);
        int pointers = start + (type == InteriorTable ? 12 : 8);
        if (type is not (InteriorTable or LeafTable) || pointers + (cells * 2) > _usable)
        {
            throw Corrupt(number, $"type {type}, {cells} cells");
        }

        for (int i = 0; i < cells; i++)
        {
            int cell = BinaryPrimitives.ReadUInt16BigEndian(page[(pointers + (i * 2))..]);
            if (cell < pointers || cell > _usable - 4)
            {
                throw Corrupt(number, $"cell {i} at {cell}");
            }

            if (type == InteriorTable)
            {
                Walk(BinaryPrimitives.ReadUInt32BigEndian(page[cell..]), depth + 1, record, row);
            }
            else
            {
                row(Payload(page, cell, number, record.Span));
            }
        }

        if (type == InteriorTable)
        {
            Walk(BinaryPrimitives.ReadUInt32BigEndian(page[(start + 8)..]), depth + 1, record, row);
        }
    }

    /// <summary>The first bytes of a leaf's cell: what the page holds, and of the chain of overflow pages as much as fits. Section 1.5.</summary>
    private ReadOnlySpan<byte> Payload(ReadOnlySpan<byte> page, int at, long number, Span<byte> record)
    {
        ulong total = Varint(page, ref at);
        _ = Varint(page, ref at);
        int most = _usable - 35;
        int local = (int)Math.Min(total, int.MaxValue);
        if (total > (ulong)most)
        {
            int least = ((_usable - 12) * 32 / 255) - 23;
            local = least + (int)((total - (ulong)least) % (ulong)(_usable - 4));
            local = local > most ? least : local;
        }

        if (local > _usable - at - (total > (ulong)most ? 4 : 0))
        {
            throw Corrupt(number, $"a cell of {total} bytes at {at}");
        }

        int wanted = (int)Math.Min(total, (ulong)record.Length);
        int got = Math.Min(local, wanted);
        page.Slice(at, got).CopyTo(record);
        if (got < wanted)
        {
            got = Overflow(BinaryPrimitives.ReadUInt32BigEndian(page[(at + local)..]), record[..wanted], got);
        }

        return record[..got];
    }

    private int Overflow(long next, Span<byte> record, int got)
    {
        using RentedBuffer buffer = _context.Budget.Rent(_usable);
        while (got < record.Length)
        {
            // It has one place in one chain.
            if (next < 1 || next > _pages || --_visitsLeft < 0)
            {
                throw Corrupt(next, _visitsLeft < 0 ? "chains share overflow pages" : $"no such overflow page of {_pages}");
            }

            _file.Read((next - 1) * _pageBytes, buffer.Span);
            int part = Math.Min(_usable - 4, record.Length - got);
            buffer.Span.Slice(4, part).CopyTo(record[got..]);
            got += part;
            next = BinaryPrimitives.ReadUInt32BigEndian(buffer.Span);
        }

        return got;
    }
}
