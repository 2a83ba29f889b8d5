using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers;

/// <summary>
/// The pages of a block table or of sector bitmaps last used, each in the one slot its number gives. Its caller holds a lock:
/// answers are spans into the pages.
/// </summary>
internal sealed class MetadataPages(IBlockSource image, ScanBudget budget, int slots, int pageBytes = MetadataPages.PageBytes) : IDisposable
{
    /// <summary>Holds 8,192 BAT entries of a VHDX, or the sector bits of its largest block (256 MiB of 512-byte sectors).</summary>
    public const int PageBytes = 64 << 10;

    private const long NoPage = -1;

    private readonly RentedBuffer?[] _pages = new RentedBuffer?[slots];
    private readonly long[] _numbers = [.. Enumerable.Repeat(NoPage, slots)];
    private bool _disposed;

    /// <summary>The bytes from <paramref name="offset"/> to the end of its page or of the image.</summary>
    public ReadOnlySpan<byte> From(long offset)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        long number = offset / pageBytes;
        int slot = (int)(number % slots);
        long start = number * pageBytes;
        int bytes = (int)Math.Min(pageBytes, image.Length - start);
        RentedBuffer page = _pages[slot] ??= budget.Rent(pageBytes);
        if (_numbers[slot] != number)
        {
            _numbers[slot] = NoPage;
            image.Read(start, page.Span[..bytes]);
            _numbers[slot] = number;
        }

        return page.Span[(int)(offset - start)..bytes];
    }

    public void Dispose()
    {
        _disposed = true;
        foreach (RentedBuffer? page in _pages)
        {
            page?.Dispose();
        }
    }
}
