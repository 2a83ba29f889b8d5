using System.Buffers.Binary;
using System.Diagnostics;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// Keeps a worker's reads to the rates that its supervisor writes into a file, and tells how long the storage takes. A file, because it is all that a
/// worker which has no answers on its standard input can be given, and because one write reaches whatever thread waits.
/// </summary>
internal sealed class PaceGate : IReadGate, IDisposable
{
    /// <summary>How long a rate is believed.</summary>
    private static readonly TimeSpan Fresh = TimeSpan.FromMilliseconds(50);

    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    /// <summary>What a reader that paused may catch up with.</summary>
    private const double BurstSeconds = 0.1;

    private readonly EventWriter _writer;
    private readonly IReadOnlyList<int> _disks;
    private readonly FileSource _rates;
    private readonly Store[] _stores;
    private readonly Lock _lock = new();
    private Action _step = () => { };
    private long _sentAt = Stopwatch.GetTimestamp();

    public PaceGate(PacingJob job, EventWriter writer)
    {
        _writer = writer;
        _disks = job.Stores;
        _rates = new FileSource(job.Rates);
        _stores = [.. Enumerable.Range(0, (int)(_rates.Length / sizeof(long))).Select(_ => new Store())];
        if (_disks.Any(s => s < 0 || s >= _stores.Length))
        {
            throw new InvalidDataException("a disk lies on no store that has a rate");
        }
    }

    /// <summary>Whom to tell that a wait is no hang.</summary>
    public void Tell(Action step) => _step = step;

    public void Enter(int file, int bytes)
    {
        Store store = Of(file);
        while (true)
        {
            TimeSpan wait;
            lock (_lock)
            {
                Refresh();
                wait = store.Take(bytes);
            }

            if (wait == TimeSpan.Zero)
            {
                return;
            }

            long started = Stopwatch.GetTimestamp();
            Thread.Sleep(wait);
            _step();
            lock (_lock)
            {
                store.Waited += Stopwatch.GetElapsedTime(started);
            }

            Send();
        }
    }

    public void Leave(int file, int bytes, TimeSpan took)
    {
        lock (_lock)
        {
            Of(file).Add(bytes, took);
        }

        Send();
    }

    public void Dispose()
    {
        _sentAt = 0;
        Send();
        _rates.Dispose();
    }

    private Store Of(int file)
    {
        int disk = file / ChainPlanner.MostFiles;
        return _stores[disk < _disks.Count ? _disks[disk] : 0];
    }

    private void Refresh()
    {
        Span<byte> rate = stackalloc byte[sizeof(long)];
        for (int i = 0; i < _stores.Length; i++)
        {
            if (_stores[i].IsOlderThan(Fresh))
            {
                _rates.Read(i * sizeof(long), rate);
                _stores[i].Set(BinaryPrimitives.ReadInt64LittleEndian(rate));
            }
        }
    }

    private void Send()
    {
        List<StorePace> paces;
        lock (_lock)
        {
            if (Stopwatch.GetElapsedTime(_sentAt) < Interval)
            {
                return;
            }

            _sentAt = Stopwatch.GetTimestamp();
            paces = [.. _stores.Select(s => s.Reset())];
        }

        if (paces.Exists(p => p.Reads > 0 || p.WaitedMicroseconds > 0))
        {
            _writer.Send(new PaceEvent(paces));
        }
    }

    private sealed class Store
    {
        private static readonly TimeSpan LongestSleep = TimeSpan.FromMilliseconds(50);

        private long _rate = -1;
        private long _setAt;
        private double _allowed;
        private long _filledAt = Stopwatch.GetTimestamp();
        private long _reads;
        private long _bytes;
        private TimeSpan _time;
        private TimeSpan _longest;

        public TimeSpan Waited { get; set; }

        public bool IsOlderThan(TimeSpan age) => _setAt == 0 || Stopwatch.GetElapsedTime(_setAt) > age;

        public void Set(long rate)
        {
            if (rate != _rate)
            {
                Fill();
                _rate = rate;
            }

            _setAt = Stopwatch.GetTimestamp();
        }

        /// <summary>Takes what may be read now; otherwise how long to wait before asking again. A read may go beyond what is left and is paid back by the next ones.</summary>
        public TimeSpan Take(int bytes)
        {
            if (_rate < 0)
            {
                return TimeSpan.Zero;
            }

            Fill();
            if (_rate > 0 && _allowed > 0)
            {
                _allowed -= bytes;
                return TimeSpan.Zero;
            }

            var wait = TimeSpan.FromSeconds(_rate == 0 ? 1 : Math.Min(1, 0.001 - (_allowed / _rate)));
            return wait < LongestSleep ? wait : LongestSleep;
        }

        public void Add(int bytes, TimeSpan took)
        {
            _reads++;
            _bytes += bytes;
            _time += took;
            _longest = took > _longest ? took : _longest;
        }

        public StorePace Reset()
        {
            var pace = new StorePace(_reads, _bytes, (long)_time.TotalMicroseconds, (long)_longest.TotalMicroseconds, (long)Waited.TotalMicroseconds);
            (_reads, _bytes, _time, _longest, Waited) = (0, 0, default, default, default);
            return pace;
        }

        private void Fill()
        {
            double seconds = Stopwatch.GetElapsedTime(_filledAt).TotalSeconds;
            _filledAt = Stopwatch.GetTimestamp();
            _allowed = _rate <= 0 ? Math.Min(_allowed, 0) : Math.Min(_allowed + (_rate * seconds), Math.Max(1, _rate * BurstSeconds));
        }
    }
}
