using System.Diagnostics;
using System.Globalization;
using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using Vmsweep.Golden;

namespace Vmsweep.Fuzz;

/// <summary>Damages seeds on all processors until the time is over, and writes down each input that breaks a reader.</summary>
internal sealed class Soak
{
    private const long MostSeedBytes = 8 << 20;

    /// <summary>Beyond this an input hangs: the readers' own bound is ten seconds of a busy machine.</summary>
    private static readonly TimeSpan Hang = TimeSpan.FromSeconds(60);

    private readonly FuzzTarget _target;
    private readonly string _crashes;
    private readonly int _seed;
    private readonly List<(byte[] Bytes, IReadOnlyList<(long Offset, long Length)> Regions)> _seeds = [];
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);
    private long _next;
    private long _done;

    public Soak(FuzzTarget target, string? corpus, string crashes, int seed)
    {
        _target = target;
        _crashes = crashes;
        _seed = seed;
        foreach (byte[] bytes in target.Seeds())
        {
            AddSeed(bytes);
        }

        if (corpus is not null)
        {
            foreach (FileInfo file in new DirectoryInfo(corpus).EnumerateFiles("*", SearchOption.AllDirectories).Where(f => f.Length is > 0 and <= MostSeedBytes).OrderBy(f => f.FullName, StringComparer.Ordinal))
            {
                AddSeed(File.ReadAllBytes(file.FullName));
            }
        }
    }

    /// <returns>The exit status: 1 when something broke.</returns>
    public int Run(TimeSpan time, int threads, long only)
    {
        Console.WriteLine($"{_target.Name}: {_seeds.Count} seeds, seed {_seed}, {threads} threads");
        if (only >= 0)
        {
            One(only, [.. _seeds.Select(s => (byte[])s.Bytes.Clone())]);
            return _known.Count > 0 ? 1 : 0;
        }

        // A stack overflow or a native crash ends the process without a word: the numbers of the inputs in work survive it here.
        string statePath = Path.Combine(Directory.CreateDirectory(_crashes).FullName, _target.Name + ".state");
        using var stateFile = MemoryMappedFile.CreateFromFile(statePath, FileMode.Create, null, threads * sizeof(long));
        using MemoryMappedViewAccessor state = stateFile.CreateViewAccessor();
        long started = Stopwatch.GetTimestamp();
        long[] begun = new long[threads];
        Thread[] workers = [.. Enumerable.Range(0, threads).Select(i => new Thread(() => Work(i)) { IsBackground = true })];
        Array.ForEach(workers, w => w.Start());
        TimeSpan nextReport = TimeSpan.FromSeconds(30);
        while (workers.Any(w => w.IsAlive))
        {
            Thread.Sleep(200);
            for (int i = 0; i < threads; i++)
            {
                if (workers[i].IsAlive && Volatile.Read(ref begun[i]) is > 0 and var at && Stopwatch.GetElapsedTime(at) > Hang)
                {
                    Console.WriteLine($"input {state.ReadInt64(i * sizeof(long))} hangs; run it with --seed {_seed} --only N");
                    return 1;
                }
            }

            if (Stopwatch.GetElapsedTime(started) > nextReport)
            {
                nextReport += TimeSpan.FromSeconds(30);
                Report(started);
            }
        }

        Report(started);
        return _known.Count > 0 ? 1 : 0;

        void Work(int thread)
        {
            List<byte[]> copies = [.. _seeds.Select(s => (byte[])s.Bytes.Clone())];
            while (Stopwatch.GetElapsedTime(started) < time)
            {
                long number = Interlocked.Increment(ref _next) - 1;
                state.Write(thread * sizeof(long), number);
                Volatile.Write(ref begun[thread], Stopwatch.GetTimestamp());
                One(number, copies);
                Interlocked.Increment(ref _done);
            }
        }
    }

    private void Report(long started)
    {
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{_target.Name}: {_done:N0} inputs in {seconds:0} s, {_done / seconds:N0}/s, {_known.Count} kinds of crash"));
    }

    private void AddSeed(byte[] bytes)
    {
        using var recording = new RecordingSource(bytes);
        try
        {
            _target.Read(recording, new(new(FuzzTarget.BudgetBytes), new DiskReaders.Blocks.GapList(100)));
        }
        catch (DiskReaders.Blocks.DiskFormatException)
        {
            // An image that is refused is a seed too: what it was refused for may be undone.
        }

        _seeds.Add((bytes, recording.Regions));
    }

    private void One(long number, List<byte[]> copies)
    {
        var random = new Random(HashCode(number));
        int which = random.Next(_seeds.Count);
        byte[] image = copies[which];
        List<(int At, byte[] Old)> undo = [];
        for (int i = random.Next(3); i >= 0; i--)
        {
            Mutations.Damage(image, _seeds[which].Regions, random, undo);
            if (random.Next(8) == 0)
            {
                Splice(image, _seeds[which].Regions, random, undo);
            }
        }

        byte[] given = image;
        if (random.Next(32) == 0)
        {
            given = image[..random.Next(image.Length)];
        }

        if (_target.Repair is { } repair && random.Next(2) == 0)
        {
            given = (byte[])given.Clone();
            try
            {
                repair(given);
            }
            catch (Exception e) when (e is ArgumentException or IndexOutOfRangeException or OverflowException)
            {
                // The damage reaches what the repair itself relies on.
            }
        }

        try
        {
            Mutations.One(given, _target.ReadBytes, FuzzTarget.BudgetBytes, $"seed {_seed}, input {number}");
        }
        catch (InvalidOperationException e)
        {
            Keep(given, e);
        }

        for (int i = undo.Count - 1; i >= 0; i--)
        {
            undo[i].Old.CopyTo(image, undo[i].At);
        }
    }

    /// <summary>Puts a piece of the image in the place of another: structures meet where they do not belong.</summary>
    private static void Splice(byte[] image, IReadOnlyList<(long Offset, long Length)> regions, Random random, List<(int At, byte[] Old)> undo)
    {
        int from = Place();
        int to = Place();
        int count = Math.Min(1 << random.Next(8), image.Length - Math.Max(from, to));
        undo.Add((to, image.AsSpan(to, count).ToArray()));
        image.AsSpan(from, count).ToArray().CopyTo(image, to);

        int Place()
        {
            if (regions.Count == 0)
            {
                return random.Next(image.Length);
            }

            (long offset, long length) = regions[random.Next(regions.Count)];
            return (int)Math.Min(image.Length - 1, offset + random.NextInt64(Math.Max(1, length)));
        }
    }

    /// <summary>One file for each kind of crash: the exception and the first line of ours that it came through.</summary>
    private void Keep(byte[] input, InvalidOperationException e)
    {
        string where = (e.InnerException ?? e).StackTrace?.Split('\n').FirstOrDefault(l => l.Contains("Vmsweep", StringComparison.Ordinal))?.Trim() ?? e.Message;
        lock (_known)
        {
            if (!_known.Add($"{e.InnerException?.GetType().Name} {where}"))
            {
                return;
            }
        }

        string name = $"{_target.Name}-{e.InnerException?.GetType().Name ?? "rule"}-{Convert.ToHexStringLower(SHA256.HashData(input))[..12]}";
        Directory.CreateDirectory(_crashes);
        File.WriteAllBytes(Path.Combine(_crashes, name), input);
        File.WriteAllText(Path.Combine(_crashes, name + ".txt"), e.ToString());
        Console.WriteLine($"{name}: {e.Message}\n  {where}");
    }

    private int HashCode(long number) => unchecked((int)number + (_seed * 1_000_003));
}
