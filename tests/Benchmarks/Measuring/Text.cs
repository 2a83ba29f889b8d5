using System.Globalization;

namespace Vmsweep.Benchmarks.Measuring;

/// <summary>Numbers as people read them.</summary>
internal static class Text
{
    public static string MiB(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 20):0} MiB");

    /// <summary>A number with an optional K, M or G, powers of 1024.</summary>
    public static long Bytes(string text)
    {
        int shift = char.ToUpperInvariant(text[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        return long.Parse(shift > 0 ? text[..^1] : text, CultureInfo.InvariantCulture) << shift;
    }
}
