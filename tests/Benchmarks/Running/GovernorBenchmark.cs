using System.Diagnostics;
using System.IO.Pipes;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.Appliance.Sweeps.Configuration;
using Vmsweep.Appliance.Sweeps.Pacing;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;

namespace Vmsweep.Benchmarks.Running;

/// <summary>
/// The latency governor against an NBD server whose store gets slower under load: two readers as workers have them, with their gates, messages and files of rates. The store answers
/// like a queue: its latency grows without bound as what is read nears its capacity, part of which guests use.
/// </summary>
internal static class GovernorBenchmark
{
    private const long Capacity = 64 << 20;
    private const int Readers = 2;
    private static readonly TimeSpan Target = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(12);
    private static readonly TimeSpan Measuring = TimeSpan.FromSeconds(8);

    public static bool Run()
    {
        var store = new LoadedStore(Capacity);
        (double free, double freeRate) = Measure(store, TimeSpan.FromMinutes(1), TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(3), 0);
        Console.WriteLine(FormattableString.Invariant($"governor: without it a read takes {free:0.0} ms at {freeRate:0.0} MiB/s"));
        bool isReached = true;
        foreach (double guests in (double[])[0, 0.5])
        {
            (double latency, double rate) = Measure(store, Target, Settling, Measuring, guests);
            double ratio = latency / Target.TotalMilliseconds;
            bool holds = ratio is >= 0.8 and <= 1.2;
            isReached &= holds;
            Console.WriteLine(FormattableString.Invariant(
                $"governor: target {Target.TotalMilliseconds:0} ms, guests use {guests:0%} of the store: a read takes {latency:0.0} ms at {rate:0.0} MiB/s, ratio {ratio:0.00} (0.8 to 1.2: {(holds ? "reached" : "MISSED")}); load {Numbers.Load}"));
        }

        return isReached;
    }

    /// <summary>Mean latency and rate after the governor had time to find them.</summary>
    private static (double Milliseconds, double MiBPerSecond) Measure(LoadedStore store, TimeSpan target, TimeSpan settling, TimeSpan measuring, double guests)
    {
        store.Guests = guests;
        string folder = Directory.CreateTempSubdirectory("vmsweep-governor-").FullName;
        try
        {
            string socket = Path.Combine(folder, "nbd.socket");
            using var server = NbdServer.OnUnix(socket, new Dictionary<string, IBlockSource> { [""] = store });
            var board = new PaceBoard(new SweepLimits { TargetLatency = target, StopLatency = target * 10 }, TimeProvider.System);
            using var timer = new Timer(_ => board.Step(), null, 500, 500);
            using var stop = new CancellationTokenSource();
            var sum = new Sum();
            Thread[] readers = [.. Enumerable.Range(0, Readers).Select(i => new Thread(() => Read(board, socket, i, sum, stop.Token)))];
            Array.ForEach(readers, r => r.Start());
            Thread.Sleep(settling);
            sum.Take();
            long began = Stopwatch.GetTimestamp();
            Thread.Sleep(measuring);
            (long reads, long bytes, long microseconds) = sum.Take();
            double seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
            stop.Cancel();
            Array.ForEach(readers, r => r.Join());
            return (microseconds / 1000.0 / Math.Max(1, reads), bytes / seconds / (1 << 20));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A worker's way of reading, and its supervisor's of listening.</summary>
    private static void Read(PaceBoard board, string socket, int number, Sum sum, CancellationToken stop)
    {
        var vm = new SweepVm($"vm{number}", $"vm{number}") { Id = "", Target = "", Datastores = ["store"], Open = _ => throw new NotSupportedException() };
        using PaceLane lane = board.Join(vm);
        var binds = new List<(string Host, string Inside)>();
        PacingJob job = lane.JobOf([], Sandbox.Probe(SandboxMode.Reduced), binds) with { Stores = [0] };
        using var listening = new AnonymousPipeServerStream(PipeDirection.In);
        using var speaking = new AnonymousPipeClientStream(PipeDirection.Out, listening.ClientSafePipeHandle);
        var supervisor = new Thread(() =>
        {
            while (Frames.Read(listening) is { } frame)
            {
                if (MessageText.Event(frame.Buffer.AsSpan(0, frame.Length)) is PaceEvent pace)
                {
                    lane.OnPace(pace);
                    sum.Add(pace);
                }
            }
        });
        supervisor.Start();
        using (var gate = new PaceGate(job, new EventWriter(speaking)))
        {
            using NbdSource source = NbdSource.Open(NbdTransport.Unix(socket), "", new ScanBudget(256 << 20), gate: gate);
            byte[] part = new byte[256 << 10];
            // Apart from each other, and never twice: nothing is answered from what was read ahead.
            for (long at = number * (LoadedStore.Bytes / Readers); !stop.IsCancellationRequested; at += part.Length)
            {
                source.Read(at, part);
            }
        }

        speaking.Dispose();
        supervisor.Join();
    }

    private sealed class Sum
    {
        private readonly Lock _lock = new();
        private long _reads;
        private long _bytes;
        private long _microseconds;

        public void Add(PaceEvent pace)
        {
            lock (_lock)
            {
                _reads += pace.Stores[0].Reads;
                _bytes += pace.Stores[0].Bytes;
                _microseconds += pace.Stores[0].Microseconds;
            }
        }

        public (long Reads, long Bytes, long Microseconds) Take()
        {
            lock (_lock)
            {
                (long, long, long) taken = (_reads, _bytes, _microseconds);
                (_reads, _bytes, _microseconds) = (0, 0, 0);
                return taken;
            }
        }
    }

    /// <summary>Zeros that take the longer the more was read in the last half second.</summary>
    private sealed class LoadedStore(long capacity) : IBlockSource
    {
        public const long Bytes = 1L << 40;

        private const double LeastMilliseconds = 4;
        private static readonly TimeSpan Window = TimeSpan.FromMilliseconds(500);

        private readonly Queue<(long At, int Count)> _reads = [];
        private readonly Lock _lock = new();
        private long _inWindow;

        /// <summary>The part of its capacity that others use.</summary>
        public double Guests { get; set; }

        public long Length => Bytes;

        public void Read(long offset, Span<byte> destination)
        {
            double load;
            lock (_lock)
            {
                _reads.Enqueue((Stopwatch.GetTimestamp(), destination.Length));
                _inWindow += destination.Length;
                while (Stopwatch.GetElapsedTime(_reads.Peek().At) > Window)
                {
                    _inWindow -= _reads.Dequeue().Count;
                }

                load = Guests + (_inWindow / Window.TotalSeconds / capacity);
            }

            Thread.Sleep(TimeSpan.FromMilliseconds(LeastMilliseconds / (1 - Math.Min(load, 0.98))));
            destination.Clear();
        }

        public StoredExtent Locate(long offset, long count) => new(ExtentKind.Data, count, 0, offset);

        public void Dispose()
        {
        }
    }
}
