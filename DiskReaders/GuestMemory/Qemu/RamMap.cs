using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>Stretches of RAM blocks put where they lie in physical memory, or one block by itself.</summary>
/// <param name="pieces">By address, not overlapping.</param>
internal sealed class RamMap(IReadOnlyList<RamPiece> pieces, PageChanges changes, IBlockSource stream) : IExtentMap, IUnpacker
{
    public long Length => pieces.Count > 0 ? pieces[^1].Address + pieces[^1].Length : 0;

    public int UnitBytes => RamPages.PageBytes;

    public Extent Map(long offset, long count)
    {
        RamPiece? piece = pieces.FirstOrDefault(p => offset < p.Address + p.Length);
        if (piece is null || offset < piece.Address)
        {
            return new Extent(ExtentKind.Hole, piece is null ? count : Math.Min(count, piece.Address - offset));
        }

        long inBlock = piece.Offset + (offset - piece.Address);
        long page = Math.DivRem(inBlock, RamPages.PageBytes, out long within);
        long length = Math.Min(count, RamPages.PageBytes - within);
        (PageKind kind, long place) = piece.Pages[page];
        switch (kind)
        {
            case PageKind.Plain:
                return new Extent(ExtentKind.Data, length, place + within);
            case PageKind.Fill or PageKind.Changed:
                return new Extent(ExtentKind.Packed, length, page);
            default:
                return new Extent(kind == PageKind.Zero ? ExtentKind.Zero : ExtentKind.Hole, SameUpTo(piece, page, kind, within, count));
        }
    }

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        RamPiece piece = pieces.First(p => unitOffset < p.Address + p.Length);
        (PageKind kind, long place) = piece.Pages[location];
        PageReader.Read(stream, changes, kind, place, unit);
    }

    /// <summary>Stretches of pages that were sent.</summary>
    public static IEnumerable<MemoryRun> Sent(RamPiece piece)
    {
        long first = piece.Offset / RamPages.PageBytes;
        long last = first + (piece.Length / RamPages.PageBytes);
        long start = -1;
        for (long page = first; page < last;)
        {
            bool isMissing = piece.Pages[page].Kind == PageKind.Missing;
            if (isMissing && start >= 0)
            {
                yield return new MemoryRun(piece.Address + ((start - first) * RamPages.PageBytes), (page - start) * RamPages.PageBytes);
                start = -1;
            }
            else if (!isMissing && start < 0)
            {
                start = page;
            }

            page = isMissing && piece.Pages.IsPartMissing(page) ? Math.Min(last, RamPages.EndOfPart(page)) : page + 1;
        }

        if (start >= 0)
        {
            yield return new MemoryRun(piece.Address + ((start - first) * RamPages.PageBytes), (last - start) * RamPages.PageBytes);
        }
    }

    private static long SameUpTo(RamPiece piece, long page, PageKind kind, long within, long count)
    {
        long last = (piece.Offset + piece.Length) / RamPages.PageBytes;
        long most = Math.Min(last - page, (count + within + RamPages.PageBytes - 1) / RamPages.PageBytes);
        long pages = 1;
        while (pages < most && piece.Pages[page + pages].Kind == kind)
        {
            pages++;
        }

        return Math.Min(count, (pages * RamPages.PageBytes) - within);
    }
}

/// <param name="Address">Where it lies in what is mapped.</param>
/// <param name="Offset">Where it lies in its block.</param>
internal sealed record RamPiece(long Address, long Length, long Offset, RamPages Pages);
