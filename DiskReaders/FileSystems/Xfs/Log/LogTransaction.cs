using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>The regions of a transaction, gathered from as many records as it spans. Specification: "Log Operations", "Log Items".</summary>
internal sealed class LogTransaction(ScanBudget budget, ulong lsn) : IDisposable
{
    private const int FirstBytes = 4096;
    private const int BytesPerRegion = 64;
    private const uint HeaderMagic = 0x5452_414E;  // TRAN
    private const int HeaderBytes = 16;

    private readonly List<(int Start, int Length)> _regions = [];
    private RentedBuffer _bytes = budget.Rent(FirstBytes);
    private int _used;

    /// <summary>Of the record in which it began.</summary>
    public ulong Lsn { get; } = lsn;

    public void Add(ReadOnlySpan<byte> region)
    {
        if (_regions.Count >= budget.CeilingBytes / BytesPerRegion)
        {
            throw new DiskFormatException(Fault.Limit, "log transaction", -1, $"more than {_regions.Count} regions");
        }

        _regions.Add((_used, region.Length));
        Append(region);
    }

    /// <summary>Goes on with the last region, which a record's end had cut.</summary>
    public void Continue(ReadOnlySpan<byte> rest)
    {
        if (_regions.Count == 0)
        {
            _regions.Add((_used, 0));
        }

        (int start, int length) = _regions[^1];
        _regions[^1] = (start, length + rest.Length);
        Append(rest);
    }

    /// <summary>The items: index of the first region of each and how many there are. The first region of all is the transaction's header.</summary>
    /// <exception cref="DiskFormatException">The regions make no items.</exception>
    public List<(int First, int Count)> Items()
    {
        List<(int, int)> items = [];
        if (_regions.Count == 0)
        {
            return items;
        }

        ReadOnlySpan<byte> header = Region(0);
        if (header.Length < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(header) != HeaderMagic)
        {
            throw new DiskFormatException(Fault.Corrupt, "xfs_trans_header", -1, "bad th_magic");
        }

        for (int i = 1; i < _regions.Count;)
        {
            ReadOnlySpan<byte> format = Region(i);
            int count = format.Length >= 4 ? BinaryPrimitives.ReadUInt16LittleEndian(format[2..]) : 0;
            if (count == 0 || count > _regions.Count - i)
            {
                throw new DiskFormatException(Fault.Corrupt, "log item", -1, $"an item of {count} regions");
            }

            items.Add((i, count));
            i += count;
        }

        return items;
    }

    public ReadOnlySpan<byte> Region(int index) => _bytes.Span.Slice(_regions[index].Start, _regions[index].Length);

    public void Dispose() => _bytes.Dispose();

    private void Append(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > _bytes.Length - _used)
        {
            RentedBuffer larger = budget.Rent((int)Math.Min(Array.MaxLength, Math.Max((long)_used + bytes.Length, 2L * _bytes.Length)));
            _bytes.Span[.._used].CopyTo(larger.Span);
            _bytes.Dispose();
            _bytes = larger;
            if (bytes.Length > _bytes.Length - _used)
            {
                throw new DiskFormatException(Fault.Limit, "log transaction", -1, "a transaction of more than 2 GiB");
            }
        }

        bytes.CopyTo(_bytes.Span[_used..]);
        _used += bytes.Length;
    }
}
