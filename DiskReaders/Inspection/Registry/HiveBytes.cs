using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>A hive's bins data: the primary file, and over it the pages that its logs carry.</summary>
internal sealed class HiveBytes : IDisposable
{
    private const string Structure = "registry hive bins";
    private const int CachePage = 16 << 10;
    private const int CachePages = 64;

    /// <summary>Pages of 512 bytes that logs may put over a hive: 256 MiB of them, in 32 MiB of memory.</summary>
    private const int MostPages = 512 << 10;

    private const int BytesForPage = 64;

    private readonly PageCache _primary;
    private readonly long _primaryBytes;
    private readonly ReadContext _context;
    private readonly Dictionary<long, (IBlockSource Log, long Offset)> _pages = [];
    private readonly List<BudgetReservation> _reserved = [];
    private readonly List<PageCache> _logs = [];

    public HiveBytes(IBlockSource primary, ReadContext context)
    {
        _context = context;
        _primary = new PageCache(primary, context, CachePage, CachePages);
        _primaryBytes = primary.Length;
    }

    /// <summary>Pages of logs grow by this.</summary>
    public const int PageBytes = 512;

    /// <summary>Bins data from <see cref="BaseBlock.Size"/> on.</summary>
    public long Length { get; set; }

    /// <summary>A log whose pages will be added, through a cache of its own.</summary>
    public IBlockSource Cached(IBlockSource log)
    {
        var cache = new PageCache(log, _context, CachePage, CachePages / 4);
        _logs.Add(cache);
        return cache;
    }

    /// <summary>From now on a page is read from a log.</summary>
    /// <param name="offset">In the bins data; a multiple of <see cref="PageBytes"/>, as is the length.</param>
    public void Put(long offset, long length, IBlockSource log, long logOffset)
    {
        for (long at = 0; at < length; at += PageBytes)
        {
            if (_pages.Count % 4096 == 0)
            {
                _reserved.Add(_context.Budget.Reserve(4096 * BytesForPage));
            }

            if (_pages.Count >= MostPages)
            {
                throw new DiskFormatException(Fault.Limit, "registry log", logOffset, $"more than {MostPages} dirty pages");
            }

            _pages[offset + at] = (log, logOffset + at);
        }
    }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, Structure);
        while (!destination.IsEmpty)
        {
            int within = (int)(offset % PageBytes);
            Span<byte> part = _pages.Count == 0 ? destination : destination[..Math.Min(destination.Length, PageBytes - within)];
            if (_pages.TryGetValue(offset - within, out (IBlockSource Log, long Offset) page))
            {
                page.Log.Read(page.Offset + within, part);
            }
            else
            {
                Bounds.Check(BaseBlock.Size + offset, part.Length, _primaryBytes, Structure);
                _primary.Read(BaseBlock.Size + offset, part);
            }

            offset += part.Length;
            destination = destination[part.Length..];
        }
    }

    public void Dispose()
    {
        _primary.Dispose();
        _logs.ForEach(l => l.Dispose());
        _reserved.ForEach(r => r.Dispose());
    }
}
