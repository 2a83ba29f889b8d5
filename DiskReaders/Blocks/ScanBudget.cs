using System.Buffers;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>The memory that reading one disk may hold at once. Everything over a kibibyte is rented here.</summary>
/// <param name="ceilingBytes">The most bytes rented at one time.</param>
public sealed class ScanBudget(long ceilingBytes)
{
    private long _inUse;

    /// <summary>Bytes rented and not yet returned. Zero after every test.</summary>
    public long InUse => Interlocked.Read(ref _inUse);

    public long CeilingBytes => ceilingBytes;

    /// <summary>Rents a buffer; its content is undefined.</summary>
    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: the ceiling would be passed.</exception>
    public RentedBuffer Rent(int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Take(bytes);
        return new RentedBuffer(this, ArrayPool<byte>.Shared.Rent(bytes), bytes);
    }

    /// <summary>Counts memory that something else allocates, such as a library, until the answer is disposed.</summary>
    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: the ceiling would be passed.</exception>
    public BudgetReservation Reserve(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Take(bytes);
        return new BudgetReservation(this, bytes);
    }

    internal void Return(byte[] array, int bytes)
    {
        ArrayPool<byte>.Shared.Return(array);
        Give(bytes);
    }

    internal void Give(long bytes) => Interlocked.Add(ref _inUse, -bytes);

    private void Take(long bytes)
    {
        if (Interlocked.Add(ref _inUse, bytes) > ceilingBytes)
        {
            Give(bytes);
            throw new DiskFormatException(Fault.Limit, "memory", -1, $"{bytes} more bytes would pass the budget of {ceilingBytes}");
        }
    }
}

/// <summary>A buffer of a <see cref="ScanBudget"/>; dispose it exactly when its bytes are no longer used.</summary>
public sealed class RentedBuffer : IDisposable
{
    private readonly ScanBudget _budget;
    private byte[]? _array;

    internal RentedBuffer(ScanBudget budget, byte[] array, int length)
    {
        _budget = budget;
        _array = array;
        Length = length;
    }

    public int Length { get; }

    public Span<byte> Span => new(_array ?? throw new ObjectDisposedException(nameof(RentedBuffer)), 0, Length);

    public Memory<byte> Memory => new(_array ?? throw new ObjectDisposedException(nameof(RentedBuffer)), 0, Length);

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _array, null) is { } array)
        {
            _budget.Return(array, Length);
        }
    }
}

/// <summary>Memory counted in a <see cref="ScanBudget"/> and held elsewhere; dispose it when that is free again.</summary>
public sealed class BudgetReservation : IDisposable
{
    private readonly ScanBudget _budget;
    private long _bytes;

    internal BudgetReservation(ScanBudget budget, long bytes)
    {
        _budget = budget;
        _bytes = bytes;
    }

    public void Dispose() => _budget.Give(Interlocked.Exchange(ref _bytes, 0));
}
