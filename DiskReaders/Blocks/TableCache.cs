namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Fills one slot of a <see cref="TableCache"/>.</summary>
internal interface ITableLoader
{
    /// <summary>Fills <paramref name="destination"/> with the table, or throws.</summary>
    void Load(long table, Span<byte> destination);
}

/// <summary>
/// Keeps tables, or slices of them, in one rented buffer, each in the slot that its number falls to. Readers take no lock: a slot's
/// version is odd while it is written and changes with its content, so a reader looks at the version before and after, and forgets what it
/// read when they differ.
/// </summary>
internal sealed class TableCache : IDisposable
{
    private readonly Lock _load = new();
    private readonly RentedBuffer _buffer;
    private readonly int _slotBytes;
    private readonly int _slots;
    private readonly int[] _versions;
    private readonly int[] _owners;
    private readonly long[] _tables;

    public TableCache(ScanBudget budget, int slotBytes, int slots)
    {
        _slotBytes = slotBytes;
        _slots = slots;
        _versions = new int[slots];
        _owners = new int[slots];
        _tables = new long[slots];
        _tables.AsSpan().Fill(-1);
        _buffer = budget.Rent(checked(slotBytes * slots));
    }

    /// <summary>The slot that a table falls to.</summary>
    public int SlotOf(int owner, long table) => (int)((ulong)(table + ((long)owner * 31)) % (uint)_slots);

    /// <summary>Begins a look at a slot; false when it holds another table.</summary>
    public bool TryBegin(int slot, int owner, long table, out int version)
    {
        version = Volatile.Read(ref _versions[slot]);
        return (version & 1) == 0 && _tables[slot] == table && _owners[slot] == owner;
    }

    /// <summary>The slot's bytes; they may change until <see cref="IsUnchanged"/> says that they have not.</summary>
    public ReadOnlySpan<byte> Slot(int slot) => _buffer.Span.Slice(slot * _slotBytes, _slotBytes);

    public bool IsUnchanged(int slot, int version)
    {
        Volatile.ReadBarrier();
        return _versions[slot] == version;
    }

    /// <summary>Brings a table into its slot.</summary>
    public void Load(int slot, int owner, long table, ITableLoader loader)
    {
        lock (_load)
        {
            if (_tables[slot] == table && _owners[slot] == owner)
            {
                return;
            }

            int version = _versions[slot];
            Volatile.Write(ref _versions[slot], Next(version));
            Volatile.WriteBarrier();
            _tables[slot] = -1;
            try
            {
                loader.Load(table, _buffer.Span.Slice(slot * _slotBytes, _slotBytes));
                _owners[slot] = owner;
                _tables[slot] = table;
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
