namespace Vmsweep.Appliance.Pipeline;

/// <summary>Sums of sizes that guests choose: two sparse files of 8 EiB are more than a number holds, and then it stays at its end.</summary>
internal static class Saturating
{
    /// <summary>Both are at least 0.</summary>
    public static long Add(long a, long b) => a > long.MaxValue - b ? long.MaxValue : a + b;

    public static void Add(ref long total, long value)
    {
        long seen = Interlocked.Read(ref total);
        while (true)
        {
            long was = Interlocked.CompareExchange(ref total, Add(seen, value), seen);
            if (was == seen)
            {
                return;
            }

            seen = was;
        }
    }

    public static long Total<T>(this IEnumerable<T> items, Func<T, long> size)
    {
        long sum = 0;
        foreach (T item in items)
        {
            sum = Add(sum, size(item));
        }

        return sum;
    }
}
