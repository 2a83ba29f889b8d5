using System.Globalization;

namespace Vmsweep.Appliance.Cli;

/// <summary>Byte sizes as people write and read them; units are powers of 1024.</summary>
internal static class Sizes
{
    private static readonly string[] Units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    public static string Show(long bytes)
    {
        double value = bytes;
        int unit = 0;
        while (value >= 1024 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return value.ToString(unit == 0 || value >= 100 ? "0" : "0.0", CultureInfo.InvariantCulture) + " " + Units[unit];
    }

    /// <summary>A number with an optional unit: <c>4096</c>, <c>512M</c>, <c>1.5 GiB</c>.</summary>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        string trimmed = text.Trim();
        int end = trimmed.Length;
        while (end > 0 && !char.IsAsciiDigit(trimmed[end - 1]))
        {
            end--;
        }

        string unit = trimmed[end..].Trim().ToUpperInvariant();
        unit = unit.EndsWith("IB", StringComparison.Ordinal) ? unit[..^2] : unit.TrimEnd('B');
        int power = unit.Length == 0 ? 0 : unit.Length == 1 ? "KMGTPE".IndexOf(unit[0], StringComparison.Ordinal) + 1 : -1;
        if (power < (unit.Length == 0 ? 0 : 1)
            || !decimal.TryParse(trimmed.AsSpan(0, end), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number)
            || number > long.MaxValue >> (10 * power))
        {
            return false;
        }

        bytes = (long)(number * (1L << (10 * power)));
        return true;
    }
}
