using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest.Rpm;

/// <summary>
/// RPM's database in a hash of Berkeley DB, file <c>Packages</c>: from a package's number to its header. Spec: Berkeley DB, <c>dbinc/db_page.h</c>.
/// The buckets need not be walked: every page of the hash type holds pairs, and headers that are too large for it lie in chains of
/// overflow pages. In the byte order of the machine that made it.
/// </summary>
internal sealed class BerkeleyPackages
{
    private const uint HashSignature = 0x0006_1561;
    private const int MetaBytes = 512;
    private const int PageHeaderBytes = 26;
    private const byte HashUnsorted = 2;
    private const byte Overflow = 7;
    private const byte Hash = 13;
    private const byte KeyData = 1;
    private const byte OffPage = 3;
    private const int OffPageBytes = 12;

    private readonly IBlockSource _file;
    private readonly bool _isBigEndian;
    private readonly int _pageBytes;
    private readonly long _pages;

    private BerkeleyPackages(IBlockSource file)
    {
        Span<byte> meta = stackalloc byte[MetaBytes];
        if (file.Length < MetaBytes)
        {
            throw new DiskFormatException(Fault.Truncated, "DBMETA", 0, $"{file.Length} bytes");
        }

        file.Read(0, meta);
        _file = file;
        _isBigEndian = BinaryPrimitives.ReadUInt32BigEndian(meta[12..]) == HashSignature;
        if (!_isBigEndian && U32(meta, 12) != HashSignature)
        {
            throw new DiskFormatException(Fault.Corrupt, "DBMETA", 12, "bad magic");
        }

        uint pageBytes = U32(meta, 20);
        if (pageBytes is < 512 or > (64 << 10) || (pageBytes & (pageBytes - 1)) != 0 || meta[24] != 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "DBMETA", 20, $"pages of {pageBytes} bytes, encryption {meta[24]}");
        }

        _pageBytes = (int)pageBytes;
        _pages = Math.Min(file.Length / pageBytes, U32(meta, 32) + 1L);
    }

    /// <param name="package">Given the beginning of each package's header.</param>
    public static void Read(IBlockSource file, ReadContext context, Action<ReadOnlySpan<byte>> package)
    {
        var database = new BerkeleyPackages(file);
        using RentedBuffer page = context.Budget.Rent(database._pageBytes);
        using RentedBuffer header = context.Budget.Rent(RpmHeader.MostBytes);
        using RentedBuffer overflow = context.Budget.Rent(database._pageBytes);
        for (long number = 1; number < database._pages; number++)
        {
            context.ThrowIfCancelled();
            file.Read(number * database._pageBytes, page.Span);
            if (page.Span[25] is Hash or HashUnsorted)
            {
                database.ReadPairs(page.Span, number * database._pageBytes, header, overflow, package);
            }
        }
    }

    private void ReadPairs(ReadOnlySpan<byte> page, long offset, RentedBuffer header, RentedBuffer overflow, Action<ReadOnlySpan<byte>> package)
    {
        int entries = U16(page, 20);
        if (entries % 2 != 0 || PageHeaderBytes + (entries * 2) > page.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, "PAGE", offset + 20, $"{entries} entries");
        }

        for (int i = 0; i < entries; i += 2)
        {
            ReadOnlySpan<byte> key = Item(page, i, offset);
            ReadOnlySpan<byte> data = Item(page, i + 1, offset);

            // Number 0 is the record of the next number to be given.
            if (key.Length != 5 || key[0] != KeyData || key[1..].IndexOfAnyExcept((byte)0) < 0 || data.IsEmpty)
            {
                continue;
            }

            if (data[0] == KeyData)
            {
                package(data[1..]);
            }
            else if (data[0] == OffPage && data.Length >= OffPageBytes)
            {
                package(Chain(U32(data, 4), U32(data, 8), header.Span, overflow.Span));
            }
        }
    }

    /// <summary>Items lie from the page's end downwards, each up to where the one before begins.</summary>
    private ReadOnlySpan<byte> Item(ReadOnlySpan<byte> page, int index, long offset)
    {
        int from = U16(page, PageHeaderBytes + (index * 2));
        int to = index == 0 ? page.Length : U16(page, PageHeaderBytes + ((index - 1) * 2));
        return from >= PageHeaderBytes && from < to && to <= page.Length
            ? page[from..to]
            : throw new DiskFormatException(Fault.Corrupt, "PAGE", offset + PageHeaderBytes + (index * 2), $"item {index} from {from} to {to}");
    }

    private ReadOnlySpan<byte> Chain(uint number, uint length, Span<byte> to, Span<byte> page)
    {
        int wanted = (int)Math.Min(length, (uint)to.Length);
        int got = 0;
        while (got < wanted)
        {
            if (number == 0 || number >= _pages)
            {
                throw new DiskFormatException(Fault.Corrupt, "PAGE", -1, $"overflow page {number} of {_pages}");
            }

            long offset = number * (long)_pageBytes;
            _file.Read(offset, page);
            int stored = U16(page, 22);
            if (page[25] != Overflow || stored == 0 || stored > page.Length - PageHeaderBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, "PAGE", offset, $"overflow page with {stored} bytes");
            }

            // Each page gives at least a byte, so that a chain that leads back to itself ends too.
            stored = Math.Min(stored, wanted - got);
            page.Slice(PageHeaderBytes, stored).CopyTo(to[got..]);
            got += stored;
            number = U32(page, 16);
        }

        return to[..got];
    }

    private uint U32(ReadOnlySpan<byte> bytes, int at) =>
        _isBigEndian ? BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]) : BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private int U16(ReadOnlySpan<byte> bytes, int at) =>
        _isBigEndian ? BinaryPrimitives.ReadUInt16BigEndian(bytes[at..]) : BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);
}
