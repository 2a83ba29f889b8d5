using System.Diagnostics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Golden;

/// <summary>
/// Reads an image thousands of times, each time damaged another way, and accepts only data or <see cref="DiskFormatException"/>,
/// within time and memory, and with every rented buffer returned.
/// </summary>
public static class Mutations
{
    /// <summary>What each format is held to in the tests.</summary>
    public const int PerFormat = 20_000;

    /// <summary>For a long run by hand: every mutation test takes so many times its count.</summary>
    public static int Times { get; } = int.TryParse(Environment.GetEnvironmentVariable("VMSWEEP_MUTATION_TIMES"), out int times) ? times : 1;

    private static readonly TimeSpan MostForOne = TimeSpan.FromSeconds(10);

    private static readonly ulong[] Interesting =
        [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF];

    /// <param name="image">A sound image.</param>
    /// <param name="read">Opens and reads all that the bytes describe. Gaps it collects are fine. Called on several threads.</param>
    /// <param name="regions">Where the metadata lies: nine of ten mutations land there. Empty: anywhere.</param>
    /// <param name="count">How many mutations.</param>
    /// <param name="seed">Reproduces a run.</param>
    /// <param name="repair">Recomputes checksums after the damage, in half of the cases, so that what lies behind them is reached too.</param>
    /// <param name="budgetBytes">The memory a reader may rent.</param>
    /// <param name="repaired">Where the repair writes, for a large image: it is then made in place. Null: anywhere, so it is given a copy.</param>
    public static void Check(
        byte[] image,
        Action<byte[], ReadContext> read,
        IReadOnlyList<(long Offset, long Length)> regions,
        int count = PerFormat,
        int seed = 1,
        Action<byte[]>? repair = null,
        long budgetBytes = 64 << 20,
        IReadOnlyList<(int Offset, int Length)>? repaired = null)
    {
        int threads = Math.Max(1, Environment.ProcessorCount);
        Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, thread =>
        {
            byte[] damaged = new byte[image.Length];
            image.CopyTo(damaged, 0);
            byte[] copy = repair is not null && repaired is null ? new byte[image.Length] : [];
            for (int i = thread; i < count * Times; i += threads)
            {
                var random = new Random(unchecked((seed * 1_000_003) + i));
                byte[] given = damaged;
                List<(int At, byte[] Old)> undo = [];
                Damage(damaged, regions, random, undo);
                if (random.Next(32) == 0)
                {
                    given = damaged[..random.Next(damaged.Length)];
                }

                if (repair is not null && random.Next(2) == 0)
                {
                    if (given == damaged && repaired is not null)
                    {
                        undo.AddRange(repaired.Select(r => (r.Offset, damaged.AsSpan(r.Offset, r.Length).ToArray())));
                    }
                    else if (given == damaged)
                    {
                        damaged.CopyTo(copy, 0);
                        given = copy;
                    }

                    try
                    {
                        repair(given);
                    }
                    catch (Exception e) when (e is ArgumentException or IndexOutOfRangeException or OverflowException)
                    {
                        // The damage reaches what the repair itself relies on.
                    }
                }

                One(given, read, budgetBytes, () => $"seed {seed}, mutation {i}: " + string.Join(", ", undo.Take(4).Select(u => $"{u.Old.Length} bytes at {u.At}")));
                foreach ((int at, byte[] old) in Enumerable.Reverse(undo))
                {
                    old.CopyTo(damaged, at);
                }
            }
        });
    }

    /// <summary>One read of one image, held to the same rules.</summary>
    public static void One(byte[] image, Action<byte[], ReadContext> read, long budgetBytes, string name) => One(image, read, budgetBytes, () => name);

    private static void One(byte[] image, Action<byte[], ReadContext> read, long budgetBytes, Func<string> name)
    {
        var budget = new ScanBudget(budgetBytes);
        using var stop = new CancellationTokenSource(MostForOne);
        var context = new ReadContext(budget, new GapList(100), stop.Token);
        long started = Stopwatch.GetTimestamp();
        try
        {
            read(image, context);
        }
        catch (DiskFormatException e) when (e.Structure.Length > 0)
        {
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{name()}: {e.GetType().Name} escaped: {e.Message}", e);
        }

        TimeSpan taken = Stopwatch.GetElapsedTime(started);
        if (taken > MostForOne)
        {
            throw new InvalidOperationException($"{name()}: took {taken}");
        }

        if (budget.InUse != 0)
        {
            throw new InvalidOperationException($"{name()}: {budget.InUse} rented bytes were not returned");
        }
    }

    /// <summary>Changes one to three fields in place.</summary>
    /// <param name="undo">Told what was there before, in order.</param>
    public static void Damage(byte[] image, IReadOnlyList<(long Offset, long Length)> regions, Random random, List<(int At, byte[] Old)> undo)
    {
        int edits = 1 + random.Next(3);
        for (int i = 0; i < edits; i++)
        {
            long at = random.Next(image.Length);
            if (regions.Count > 0 && random.Next(10) != 0)
            {
                (long offset, long length) = regions[random.Next(regions.Count)];
                at = offset + random.NextInt64(Math.Max(1, length));
            }

            int width = 1 << random.Next(4);
            at = random.Next(2) == 0 ? at : at & ~(long)(width - 1);
            if (at < 0 || at + width > image.Length)
            {
                continue;
            }

            Span<byte> field = image.AsSpan((int)at, width);
            undo.Add(((int)at, field.ToArray()));
            switch (random.Next(4))
            {
                case 0:
                    random.NextBytes(field);
                    break;
                case 1:
                    field[0] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    ulong value = Interesting[random.Next(Interesting.Length)];
                    bool big = random.Next(2) == 0;
                    for (int b = 0; b < width; b++)
                    {
                        field[big ? width - 1 - b : b] = (byte)(value >> (8 * b));
                    }

                    break;
                default:
                    field[0] += (byte)(random.Next(2) == 0 ? 1 : 255);
                    break;
            }
        }
    }
}
