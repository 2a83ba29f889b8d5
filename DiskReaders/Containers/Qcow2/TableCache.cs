using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>Fills one slot of a <see cref="TableCache"/>.</summary>
internal interface ITableLoader
{
    /// <summary>Fills <paramref name="destination"/> with the slice of that number, or throws.</summary>
    void Load(long slice, Span<byte> destination);
}

/// <summary>
/// Keeps slices of tables in one rented buffer, each in the slot that its number falls to. Readers take no lock: a slot's version is odd
/// while it is written and changes with its content, so a reader looks at the version before and after, and forgets what it read when
/// they differ.
/// </summary>
internal sealed class TableCache : IDisposable
{
    private readonly Lock _load = new();
    private readonly RentedBuffer _buffer;
    private readonly ITableLoader _loader;
    private readonly int _slotBytes;
    private readonly int[] _versions;
    private readonly long[] _slices;

    public TableCache(ScanBudget budget, int slotBytes, int slots, ITableLoader loader)
    {
        _loader = loader;
        _slotBytes = slotBytes;
        _versions = new int[slots];
        _slices = new long[slots];
        _slices.AsSpan().Fill(-1);
        _buffer = budget.Rent(slotBytes * slots);
    }

    /// <summary>The slot that a slice falls to.</summary>
    public int SlotOf(long slice) => (int)(slice % _slices.Length);

    /// <summary>Begins a look at a slot; false when it holds another slice.</summary>
    public bool TryBegin(int slot, long slice, out int version)
    {
        version = Volatile.Read(ref _versions[slot]);
        return (version & 1) == 0 && _slices[slot] == slice;
    }

    /// <summary>The slot's bytes; they may change until <see cref="IsUnchanged"/> says that they have not.</summary>
    public ReadOnlySpan<byte> Slot(int slot) => _buffer.Span.Slice(slot * _slotBytes, _slotBytes);

    public bool IsUnchanged(int slot, int version)
    {
        Volatile.ReadBarrier();
        return _versions[slot] == version;
    }

    /// <summary>Brings a slice into its slot.</summary>
    public void Load(int slot, long slice)
    {
        lock (_load)
        {
            if (_slices[slot] == slice)
            {
                return;
            }

            int version = _versions[slot];
            Volatile.Write(ref _versions[slot], Next(version));
            Volatile.WriteBarrier();
            _slices[slot] = -1;
            try
            {
                _loader.Load(slice, _buffer.Span.Slice(slot * _slotBytes, _slotBytes));
                _slices[slot] = slice;
            }
            finally
            {
                Volatile.Write(ref _versions[slot], Next(Next(version)));
            }
        }
    }

    public void Dispose() => _buffer.Dispose();

    private static int Next(int version) => unchecked(version + 1);
}
