using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Paging;

/// <summary>Small reads of physical memory, for structures of the guest. What is not there is no fault, for the guest wrote every address.</summary>
internal sealed class PhysicalReader : IDisposable
{
    public const int PageBytes = 4096;

    private const int CachedPages = 256;

    private readonly IReadOnlyList<MemoryRun> _runs;
    private readonly PageCache _pages;
    private readonly ReadContext _context;

    public PhysicalReader(GuestMemoryImage memory, ReadContext context)
    {
        _runs = memory.Runs;
        _context = context;
        _pages = new PageCache(memory.Physical, context, PageBytes, CachedPages);
    }

    /// <summary>Whether the image holds the byte at an address.</summary>
    public bool Has(ulong address)
    {
        int low = 0;
        int high = _runs.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if ((ulong)_runs[middle].End <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low < _runs.Count && (ulong)_runs[low].Address <= address;
    }

    /// <summary>Fills the span; false where the image does not hold all of it. May not reach over the end of a page.</summary>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        _context.ThrowIfCancelled();
        if (!Has(address) || !Has(address + (ulong)destination.Length - 1))
        {
            return false;
        }

        try
        {
            _pages.Read((long)address, destination);
            return true;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    public bool TryRead64(ulong address, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        bool isThere = TryRead(address, bytes);
        value = isThere ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : 0;
        return isThere;
    }

    public void Dispose() => _pages.Dispose();
}
