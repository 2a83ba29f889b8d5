using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>
/// The allocation bitmap (section 7.1), used to tell when files lie in clusters that count as free: the next file written may lie
/// there too, so their content is in doubt. No system refuses them.
/// </summary>
internal sealed class ExFatBitmap(IBlockSource? bits, ReadContext context) : IDisposable
{
    private readonly PageCache? _pages = bits is null ? null : new PageCache(bits, context, pages: 16);
    private long _free;
    private long _firstOffset = -1;
    private bool _isUnreadable;

    public void Look(ExFatFile file)
    {
        uint cluster = file.Allocation.FirstCluster;
        if (_pages is null || _isUnreadable || cluster < 2 || file.Fault is not null)
        {
            return;
        }

        Span<byte> part = stackalloc byte[1];
        try
        {
            _pages.Read((cluster - 2) / 8, part);
        }
        catch (DiskFormatException)
        {
            _isUnreadable = true;
            return;
        }

        if ((part[0] & (1 << (int)((cluster - 2) % 8))) == 0)
        {
            _firstOffset = _free++ == 0 ? file.FirstByte : _firstOffset;
        }
    }

    public void Report()
    {
        if (_pages is null || _isUnreadable)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "exFAT Allocation Bitmap", -1, 0, "it is missing or cannot be read; what lies in free clusters is not known"));
        }
        else if (_free > 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "exFAT Allocation Bitmap", _firstOffset, 0, $"{_free} files or folders lie in clusters that count as free"));
        }
    }

    public void Dispose()
    {
        _pages?.Dispose();
        bits?.Dispose();
    }
}
