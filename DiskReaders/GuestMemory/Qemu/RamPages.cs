using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>How the last copy of a page stands in the stream.</summary>
internal enum PageKind
{
    /// <summary>It was never sent.</summary>
    Missing,

    Zero,

    /// <summary>4096 bytes at the place.</summary>
    Plain,

    /// <summary>One byte at the place, for all of the page.</summary>
    Fill,

    /// <summary>Packed, or told as a change; the place is a number in <see cref="PageChanges"/>.</summary>
    Changed,
}

/// <summary>
/// Where the last copy of each page of a RAM block lies: a guest of 256 GiB has 64 million pages. For 512 pages in a row one place and small
/// distances from it are kept, four bytes a page; eight where a page came again so much later that its distance is not small.
/// </summary>
internal sealed class RamPages : IDisposable
{
    public const int PageBytes = 4096;

    private const int PagesOfPart = 512;
    private const int KindBits = 3;
    private const long MostShort = uint.MaxValue >> KindBits;
    private const int ShortPartBytes = (PagesOfPart * 4) + 64;
    private const int LongPartBytes = PagesOfPart * 8;

    private readonly ScanBudget _budget;
    private readonly List<BudgetReservation> _reserved = [];
    private readonly Part?[] _parts;

    /// <param name="count">How many pages the block has.</param>
    public RamPages(long count, ScanBudget budget)
    {
        _budget = budget;
        Count = count;
        long parts = (count + PagesOfPart - 1) / PagesOfPart;
        _reserved.Add(budget.Reserve(parts * 8));
        _parts = new Part?[parts];
    }

    public long Count { get; }

    public void Set(long page, PageKind kind, long place)
    {
        ref Part? part = ref _parts[page / PagesOfPart];
        if (part is null)
        {
            _reserved.Add(_budget.Reserve(ShortPartBytes));
            part = new Part(kind is PageKind.Plain or PageKind.Fill ? place : 0);
        }

        int at = (int)(page % PagesOfPart);
        if (part.Long is null)
        {
            if (kind is PageKind.Plain or PageKind.Fill && part.First == 0)
            {
                part.First = place;
            }

            long distance = kind switch { PageKind.Plain or PageKind.Fill => place - part.First, PageKind.Changed => place, _ => 0 };
            if (distance <= MostShort)
            {
                part.Short![at] = (uint)((distance << KindBits) | (long)kind);
                return;
            }

            _reserved.Add(_budget.Reserve(LongPartBytes));
            part.Widen();
        }

        part.Long![at] = (place << KindBits) | (long)kind;
    }

    public (PageKind Kind, long Place) this[long page]
    {
        get
        {
            if (_parts[page / PagesOfPart] is not { } part)
            {
                return default;
            }

            int at = (int)(page % PagesOfPart);
            long value = part.Long is { } wide ? wide[at] : part.Short![at];
            var kind = (PageKind)(value & ((1 << KindBits) - 1));
            long place = value >> KindBits;
            return (kind, part.Long is null && kind is PageKind.Plain or PageKind.Fill ? place + part.FirstOfShort : place);
        }
    }

    /// <summary>None of 512 pages from this one on was sent.</summary>
    public bool IsPartMissing(long page) => _parts[page / PagesOfPart] is null;

    public static long EndOfPart(long page) => ((page / PagesOfPart) + 1) * PagesOfPart;

    public void Dispose() => _reserved.ForEach(r => r.Dispose());

    private sealed class Part(long first)
    {
        /// <summary>Place of the first page that has one; 0 until then.</summary>
        public long First { get; set; } = first;

        public long FirstOfShort => Long is null ? First : 0;

        public uint[]? Short { get; private set; } = new uint[PagesOfPart];

        public long[]? Long { get; private set; }

        public void Widen()
        {
            Long = new long[PagesOfPart];
            for (int i = 0; i < PagesOfPart; i++)
            {
                long value = Short![i];
                var kind = (PageKind)(value & ((1 << KindBits) - 1));
                long place = (value >> KindBits) + (kind is PageKind.Plain or PageKind.Fill ? First : 0);
                Long[i] = (place << KindBits) | (long)kind;
            }

            Short = null;
        }
    }
}

/// <summary>Pages that are packed or are told as changes of an earlier copy.</summary>
internal sealed class PageChanges(ScanBudget budget) : IDisposable
{
    /// <summary>A page that changes in every round of a migration: QEMU ends after some thirty.</summary>
    public const int MostLayers = 256;

    private const int ChangeBytes = 48;

    private readonly List<PageChange> _changes = [];
    private readonly List<BudgetReservation> _reserved = [];

    public PageChange this[long number] => _changes[(int)number];

    public long Add(PageChange change)
    {
        if (_changes.Count % 1024 == 0)
        {
            _reserved.Add(budget.Reserve(1024 * ChangeBytes));
        }

        _changes.Add(change);
        return _changes.Count - 1;
    }

    public void Dispose() => _reserved.ForEach(r => r.Dispose());
}

/// <summary>A packed copy of a page, or a change of it.</summary>
/// <param name="Place">Of the bytes.</param>
/// <param name="Length">Of the bytes.</param>
/// <param name="IsDelta">XBZRLE; zlib otherwise.</param>
/// <param name="Kind">Of the copy that is changed.</param>
/// <param name="Before">Its place.</param>
/// <param name="Depth">How many changes lie below.</param>
internal sealed record PageChange(long Place, int Length, bool IsDelta, PageKind Kind, long Before, int Depth);
