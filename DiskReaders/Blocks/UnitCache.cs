namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Keeps the unpacked units last used, for reads of a part of one. Units are found by offset; the oldest goes first.</summary>
internal sealed class UnitCache(ScanBudget budget, int unitBytes, int units) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly List<Unit> _kept = [];
    private bool _disposed;

    public void Read(IUnpacker unpacker, long unitOffset, long location, int bytes, int within, Span<byte> destination)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            int at = _kept.FindIndex(u => u.Offset == unitOffset);
            Unit unit;
            if (at >= 0)
            {
                unit = _kept[at];
                _kept.RemoveAt(at);
            }
            else
            {
                RentedBuffer buffer;
                if (_kept.Count >= units)
                {
                    buffer = _kept[0].Buffer;
                    _kept.RemoveAt(0);
                }
                else
                {
                    buffer = budget.Rent(unitBytes);
                }

                try
                {
                    unpacker.Unpack(unitOffset, location, buffer.Span[..bytes]);
                }
                catch
                {
                    buffer.Dispose();
                    throw;
                }

                unit = new Unit(unitOffset, buffer);
            }

            _kept.Add(unit);
            unit.Buffer.Span.Slice(within, destination.Length).CopyTo(destination);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            _kept.ForEach(u => u.Buffer.Dispose());
            _kept.Clear();
        }
    }

    private readonly record struct Unit(long Offset, RentedBuffer Buffer);
}
