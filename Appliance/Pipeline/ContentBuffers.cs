using System.Numerics;
using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// The memory that holds guest content while it is matched. A renter waits until enough is free. Buffers are native and kept for the next
/// content, small ones by size: a page that is used again costs nothing, one from the system costs more than hashing it. What is kept goes
/// back to the system when contents of other sizes need the budget.
/// </summary>
internal sealed partial class ContentBuffers(long budgetBytes) : IDisposable
{
    private const int SmallestClass = 16;
    private const int LargestClass = 23;

    private const int PageBytes = 4096;
    private const int HugePageBytes = 2 << 20;
    private const int AdviceHugePage = 14;

    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _freed = new(0);
    private readonly List<(nint Memory, long Capacity)> _keptLarge = [];
    private readonly Stack<nint>[] _kept = [.. Enumerable.Range(0, LargestClass + 1).Select(_ => new Stack<nint>())];
    private long _allocated;

    /// <summary>The largest content that is held whole.</summary>
    public long MostContentBytes { get; } = Math.Min(budgetBytes, Array.MaxLength);

    /// <summary>Waits for memory and rents it.</summary>
    public ContentBuffer Rent(int bytes, CancellationToken cancellation)
    {
        int sizeClass = Math.Max(SmallestClass, BitOperations.Log2((uint)Math.Max(1, bytes - 1)) + 1);
        long capacity = sizeClass <= LargestClass ? 1L << sizeClass : bytes;
        while (true)
        {
            lock (_lock)
            {
                if (TakeKept(sizeClass, ref capacity, out nint kept))
                {
                    return new ContentBuffer(this, kept, bytes, sizeClass, capacity);
                }

                if (_allocated + capacity > budgetBytes)
                {
                    FreeKept();
                }

                // One content may always be held, whatever rounding its class makes.
                if (_allocated == 0 || _allocated + capacity <= budgetBytes)
                {
                    _allocated += capacity;
                    return new ContentBuffer(this, Allocate(capacity), bytes, sizeClass, capacity);
                }
            }

            _freed.Wait(cancellation);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            FreeKept();
        }

        _freed.Dispose();
    }

    internal void Return(nint memory, int sizeClass, long capacity)
    {
        lock (_lock)
        {
            if (sizeClass <= LargestClass)
            {
                _kept[sizeClass].Push(memory);
            }
            else
            {
                _keptLarge.Add((memory, capacity));
            }

            if (_freed.CurrentCount == 0)
            {
                _freed.Release();
            }
        }
    }

    // A large buffer serves any content of at least half its size.
    private bool TakeKept(int sizeClass, ref long capacity, out nint memory)
    {
        if (sizeClass <= LargestClass)
        {
            return _kept[sizeClass].TryPop(out memory);
        }

        int best = -1;
        for (int i = 0; i < _keptLarge.Count; i++)
        {
            long size = _keptLarge[i].Capacity;
            if (size >= capacity && size / 2 <= capacity && (best < 0 || size < _keptLarge[best].Capacity))
            {
                best = i;
            }
        }

        if (best < 0)
        {
            memory = 0;
            return false;
        }

        (memory, capacity) = _keptLarge[best];
        _keptLarge.RemoveAt(best);
        return true;
    }

    // The kernel copies into whole pages faster than across their borders. To bring in a large buffer page by page costs as much as hashing
    // what it will hold; huge pages, where the kernel has some to give, are a five-hundredth of that.
    private static unsafe nint Allocate(long capacity)
    {
        if (capacity < HugePageBytes)
        {
            return (nint)NativeMemory.AlignedAlloc((nuint)capacity, PageBytes);
        }

        void* memory = NativeMemory.AlignedAlloc((nuint)capacity, HugePageBytes);
        _ = Advise(memory, (nuint)(capacity & ~(HugePageBytes - 1)), AdviceHugePage);
        return (nint)memory;
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static unsafe partial int Advise(void* memory, nuint bytes, int advice);

    private unsafe void Free(nint memory, long capacity)
    {
        NativeMemory.AlignedFree((void*)memory);
        _allocated -= capacity;
    }

    private void FreeKept()
    {
        _keptLarge.ForEach(k => Free(k.Memory, k.Capacity));
        _keptLarge.Clear();
        for (int sizeClass = SmallestClass; sizeClass <= LargestClass; sizeClass++)
        {
            while (_kept[sizeClass].TryPop(out nint memory))
            {
                Free(memory, 1L << sizeClass);
            }
        }
    }
}

/// <summary>Content in memory; dispose it when it was matched.</summary>
internal sealed class ContentBuffer : IDisposable
{
    private readonly ContentBuffers _owner;
    private readonly int _sizeClass;
    private readonly long _capacity;
    private nint _memory;

    internal ContentBuffer(ContentBuffers owner, nint memory, int length, int sizeClass, long capacity)
    {
        _owner = owner;
        _memory = memory;
        Length = length;
        _sizeClass = sizeClass;
        _capacity = capacity;
    }

    public int Length { get; private set; }

    /// <summary>Keeps the first bytes only.</summary>
    public void Truncate(int length) => Length = length <= Length ? length : throw new ArgumentOutOfRangeException(nameof(length));

    public unsafe Span<byte> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(_memory == 0, this);
            return new Span<byte>((void*)_memory, Length);
        }
    }

    public void Dispose()
    {
        nint memory = Interlocked.Exchange(ref _memory, 0);
        if (memory != 0)
        {
            _owner.Return(memory, _sizeClass, _capacity);
        }
    }
}
