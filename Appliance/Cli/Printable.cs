using System.Text;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.Appliance.Cli;

/// <summary>Makes text from guests, images and workers harmless on a terminal.</summary>
internal static class Printable
{
    /// <summary>
    /// The text with control and format characters as <c>\xNN</c>. Paths come in the contract's escaped form already, so that a
    /// backslash stands as it is.
    /// </summary>
    public static string Of(string text)
    {
        StringBuilder? safe = null;
        for (int i = 0; i < text.Length;)
        {
            bool isRune = Rune.TryGetRuneAt(text, i, out Rune rune);
            int length = isRune ? rune.Utf16SequenceLength : 1;
            if (!isRune || GuestName.ActsOnTerminal(rune))
            {
                safe ??= new StringBuilder(text, 0, i, text.Length + 16);
                safe.Append(isRune ? GuestName.Escape(Encoding.UTF8.GetBytes(rune.ToString()), controls: true) : "\\xEF\\xBF\\xBD");
            }
            else
            {
                safe?.Append(text.AsSpan(i, length));
            }

            i += length;
        }

        return safe?.ToString() ?? text;
    }
}
