using System.Buffers.Binary;
using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>Block numbers to block numbers: a hash table with open addressing in rented memory. Filled by one thread, then read by many.</summary>
internal sealed class BlockIndex(ScanBudget budget) : IDisposable
{
    // A slot: key + 1, so that a blank one is empty, and value.
    private const int SlotBytes = 16;
    private const int FirstSlots = 256;
    private const int MostSlots = 1 << 26;

    private RentedBuffer _table = Blank(budget, FirstSlots);
    private int _slots = FirstSlots;

    public int Count { get; private set; }

    public bool TryFind(long key, out long value)
    {
        ReadOnlySpan<byte> slot = Slot(_table.Span, _slots, key);
        value = BinaryPrimitives.ReadInt64LittleEndian(slot[8..]);
        return BinaryPrimitives.ReadInt64LittleEndian(slot) != 0;
    }

    /// <summary>The value of a key is from now on this one.</summary>
    /// <param name="key">0 to <see cref="long.MaxValue"/> - 1.</param>
    public void Put(long key, long value)
    {
        // Half of the slots stay empty, so that a look at one that is not there ends soon.
        if (2 * Count >= _slots)
        {
            Grow();
        }

        Span<byte> slot = Slot(_table.Span, _slots, key);
        Count += BinaryPrimitives.ReadInt64LittleEndian(slot) == 0 ? 1 : 0;
        BinaryPrimitives.WriteInt64LittleEndian(slot, key + 1);
        BinaryPrimitives.WriteInt64LittleEndian(slot[8..], value);
    }

    public void Dispose() => _table.Dispose();

    private static Span<byte> Slot(Span<byte> table, int slots, long key)
    {
        // Fibonacci hashing: neighbours are the usual case.
        int at = unchecked((int)(((ulong)key * 0x9E37_79B9_7F4A_7C15) >> (64 - BitOperations.Log2((uint)slots))));
        while (true)
        {
            Span<byte> slot = table.Slice(at * SlotBytes, SlotBytes);
            long found = BinaryPrimitives.ReadInt64LittleEndian(slot);
            if (found == 0 || found == key + 1)
            {
                return slot;
            }

            at = (at + 1) & (slots - 1);
        }
    }

    private static RentedBuffer Blank(ScanBudget budget, int slots)
    {
        RentedBuffer table = budget.Rent(slots * SlotBytes);
        table.Span.Clear();
        return table;
    }

    private void Grow()
    {
        if (_slots >= MostSlots)
        {
            throw new DiskFormatException(Fault.Limit, "LVM2 block index", -1, $"more than {Count} blocks");
        }

        RentedBuffer old = _table;
        RentedBuffer table = Blank(budget, _slots * 2);
        ReadOnlySpan<byte> from = old.Span;
        for (int i = 0; i < _slots; i++)
        {
            ReadOnlySpan<byte> slot = from.Slice(i * SlotBytes, SlotBytes);
            long key = BinaryPrimitives.ReadInt64LittleEndian(slot);
            if (key != 0)
            {
                slot.CopyTo(Slot(table.Span, _slots * 2, key - 1));
            }
        }

        _table = table;
        _slots *= 2;
        old.Dispose();
    }
}
