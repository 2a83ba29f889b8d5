using System.Numerics;
using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// The memory that holds guest content while it is matched. A renter waits until enough is free. Buffers are native, so that
/// large ones go back to the system, and small ones are kept by size, so that their pages stay warm.
/// </summary>
internal sealed class ContentBuffers(long budgetBytes) : IDisposable
{
    private const int SmallestClass = 16;
    private const int LargestKeptClass = 23;

    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _freed = new(0);
    private readonly Stack<nint>[] _kept = [.. Enumerable.Range(0, LargestKeptClass + 1).Select(_ => new Stack<nint>())];
    private long _allocated;

    /// <summary>The largest content that is held whole.</summary>
    public long MostContentBytes { get; } = Math.Min(budgetBytes, Array.MaxLength);

    /// <summary>Waits for memory and rents it.</summary>
    public ContentBuffer Rent(int bytes, CancellationToken cancellation)
    {
        int sizeClass = Math.Max(SmallestClass, BitOperations.Log2((uint)Math.Max(1, bytes - 1)) + 1);
        long capacity = sizeClass <= LargestKeptClass ? 1L << sizeClass : bytes;
        while (true)
        {
            lock (_lock)
            {
                if (sizeClass <= LargestKeptClass && _kept[sizeClass].TryPop(out nint kept))
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
            if (sizeClass <= LargestKeptClass)
            {
                _kept[sizeClass].Push(memory);
            }
            else
            {
                Free(memory, capacity);
            }

            if (_freed.CurrentCount == 0)
            {
                _freed.Release();
            }
        }
    }

    // The kernel copies into whole pages faster than across their borders.
    private static unsafe nint Allocate(long capacity) => (nint)NativeMemory.AlignedAlloc((nuint)capacity, 4096);

    private unsafe void Free(nint memory, long capacity)
    {
        NativeMemory.AlignedFree((void*)memory);
        _allocated -= capacity;
    }

    private void FreeKept()
    {
        for (int sizeClass = SmallestClass; sizeClass <= LargestKeptClass; sizeClass++)
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
