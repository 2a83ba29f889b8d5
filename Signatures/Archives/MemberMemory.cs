using System.Buffers;
using System.Runtime.InteropServices;

namespace Vmsweep.Signatures.Archives;

/// <summary>
/// The memory for members and the dictionaries of their decoders. Each thread has a little for itself; what needs more goes one at a time, so that
/// one that holds some never waits for another that waits for it, and the limit for one is the same however many threads there are.
/// </summary>
public sealed class MemberMemory(long budgetBytes) : IDisposable
{
    /// <summary>What a thread may hold without the others waiting.</summary>
    public const long SmallBytes = 8L << 20;

    private readonly SemaphoreSlim _large = new(1, 1);

    /// <summary>All that one content's members may hold at once.</summary>
    public long BudgetBytes { get; } = Math.Max(budgetBytes, SmallBytes);

    internal MemberLease Open(Action<bool> onWait, CancellationToken cancellation) => new(this, _large, onWait, cancellation);

    public void Dispose() => _large.Dispose();
}

/// <summary>One thread's part.</summary>
/// <param name="onWait">Told that it waits, now and then, and at last that it does not.</param>
internal sealed class MemberLease(MemberMemory owner, SemaphoreSlim large, Action<bool> onWait, CancellationToken cancellation) : IDisposable
{
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(1);

    private long _used;
    private bool _isLarge;

    public long LeftBytes => owner.BudgetBytes - _used;

    public bool TryTake(long bytes)
    {
        if (bytes > LeftBytes)
        {
            return false;
        }

        if (_used + bytes > MemberMemory.SmallBytes && !_isLarge)
        {
            if (!large.Wait(0, cancellation))
            {
                do
                {
                    onWait(true);
                }
                while (!large.Wait(Heartbeat, cancellation));
                onWait(false);
            }

            _isLarge = true;
        }

        _used += bytes;
        return true;
    }

    public void Give(long bytes)
    {
        _used -= bytes;
        if (_isLarge && _used <= MemberMemory.SmallBytes)
        {
            _isLarge = false;
            large.Release();
        }
    }

    public void Dispose() => Give(_used);
}

/// <summary>A member in memory that grows as it is read.</summary>
internal sealed unsafe class MemberBuffer(MemberLease lease) : MemoryManager<byte>
{
    private const int FirstBytes = 64 << 10;

    /// <summary>What a declared size may take at once; a lie costs no more.</summary>
    private const int MostTrusted = 4 << 20;

    private byte* _memory;
    private int _capacity;

    public int Length { get; private set; }

    public ReadOnlyMemory<byte> Content => Memory[..Length];

    /// <summary>Room behind what is there; empty when there is no more memory.</summary>
    public Span<byte> Room(long declaredBytes)
    {
        if (Length == _capacity)
        {
            long wanted = _capacity == 0
                ? Math.Clamp(declaredBytes + 1, FirstBytes, MostTrusted)
                : declaredBytes >= _capacity && declaredBytes < 4L * _capacity ? declaredBytes + 1 : 2L * _capacity;
            long capacity = Math.Min(Math.Min(wanted, Array.MaxLength), _capacity + lease.LeftBytes);
            if (capacity <= _capacity || !lease.TryTake(capacity - _capacity))
            {
                return default;
            }

            _memory = (byte*)NativeMemory.Realloc(_memory, (nuint)capacity);
            _capacity = (int)capacity;
        }

        return new Span<byte>(_memory + Length, _capacity - Length);
    }

    public void Advance(int bytes) => Length += bytes;

    public override Span<byte> GetSpan() => new(_memory, Length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(_memory + elementIndex);

    public override void Unpin()
    {
    }

    public void Free() => Dispose(true);

    protected override void Dispose(bool disposing)
    {
        if (_memory != null)
        {
            NativeMemory.Free(_memory);
            _memory = null;
            lease.Give(_capacity);
            _capacity = 0;
            Length = 0;
        }
    }
}

/// <summary>Pinned bytes of somebody else, valid as long as he says.</summary>
internal sealed unsafe class BorrowedBytes(byte* bytes, int length) : MemoryManager<byte>
{
    public override Span<byte> GetSpan() => new(bytes, length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(bytes + elementIndex);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
