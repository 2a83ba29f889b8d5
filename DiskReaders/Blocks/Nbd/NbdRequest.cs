using System.Diagnostics;

namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>A request in flight. The connection's receiving thread fills it; others wait for it.</summary>
internal sealed class NbdRequest
{
    /// <summary>A reply in more pieces than this is no server's but an attack's.</summary>
    private const int MostPieces = 4096;

    private readonly List<(long Start, long End)> _covered = [];
    private (IReadGate To, int File)? _gate;
    private long _sent;
    private bool _isDone;

    private NbdRequest(ushort command, long offset, int length)
    {
        Command = command;
        Offset = offset;
        Length = length;
    }

    public ushort Command { get; }

    public long Offset { get; }

    public int Length { get; }

    /// <summary>Where content goes. Belongs to the receiving thread until the request is done.</summary>
    public Memory<byte> Buffer { get; private init; }

    /// <summary>Set right before it is sent: is told how long the answer took.</summary>
    public (IReadGate To, int File)? Gate
    {
        set => (_gate, _sent) = (value, Stopwatch.GetTimestamp());
    }

    /// <summary>Runs of equal state by context, from <see cref="Offset"/> on.</summary>
    public List<(uint Context, uint Length, uint State)> Status { get; } = [];

    /// <summary>What went wrong; null when all went well. Valid once done.</summary>
    public IOException? Failure { get; private set; }

    /// <summary>The connection broke, which says nothing about the range: another connection may give it.</summary>
    public bool IsBroken { get; private set; }

    public static NbdRequest Read(long offset, Memory<byte> buffer) => new(NbdProtocol.CmdRead, offset, buffer.Length) { Buffer = buffer };

    public static NbdRequest BlockStatus(long offset, int length) => new(NbdProtocol.CmdBlockStatus, offset, length);

    /// <summary>Notes a piece of the answer; false when it lies outside the request or over another piece.</summary>
    public bool Cover(long offset, long length)
    {
        if (length <= 0 || offset < Offset || length > Length - (offset - Offset) || _covered.Count >= MostPieces)
        {
            return false;
        }

        // Servers send pieces in order nearly always.
        int at = _covered.Count;
        while (at > 0 && _covered[at - 1].Start > offset)
        {
            at--;
        }

        if ((at > 0 && _covered[at - 1].End > offset) || (at < _covered.Count && _covered[at].Start < offset + length))
        {
            return false;
        }

        if (at > 0 && _covered[at - 1].End == offset)
        {
            _covered[at - 1] = (_covered[at - 1].Start, offset + length);
        }
        else
        {
            _covered.Insert(at, (offset, offset + length));
        }

        return true;
    }

    /// <summary>Every byte came. What did not come must never be shown: the buffer holds somebody else's bytes there.</summary>
    public bool IsCovered => _covered.Aggregate(0L, (sum, c) => sum + (c.End - c.Start)) == Length;

    public void Fail(IOException failure, bool isBroken = false)
    {
        Failure ??= failure;
        IsBroken |= isBroken;
    }

    public void Complete()
    {
        lock (_covered)
        {
            if (!_isDone && _gate is { } gate && Failure is null)
            {
                gate.To.Leave(gate.File, Length, Stopwatch.GetElapsedTime(_sent));
            }

            _isDone = true;
            Monitor.PulseAll(_covered);
        }
    }

    /// <summary>False when it takes longer.</summary>
    public bool Wait(TimeSpan atMost)
    {
        long started = Environment.TickCount64;
        lock (_covered)
        {
            while (!_isDone)
            {
                long left = (long)atMost.TotalMilliseconds - (Environment.TickCount64 - started);
                if (left <= 0)
                {
                    return false;
                }

                Monitor.Wait(_covered, TimeSpan.FromMilliseconds(left));
            }

            return true;
        }
    }

    /// <summary>For a request whose connection was broken: its receiving thread completes it.</summary>
    public void Wait()
    {
        lock (_covered)
        {
            while (!_isDone)
            {
                Monitor.Wait(_covered);
            }
        }
    }

    public bool IsDone
    {
        get
        {
            lock (_covered)
            {
                return _isDone;
            }
        }
    }
}
