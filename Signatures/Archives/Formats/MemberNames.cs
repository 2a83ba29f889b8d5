using System.Text;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Names as archives write them.</summary>
internal static class MemberNames
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    /// <summary>UTF-8 where the bytes are; else each byte a character, for no archive says which code page it has.</summary>
    public static string Of(ReadOnlySpan<byte> bytes)
    {
        try
        {
            return Strict.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            return Encoding.Latin1.GetString(bytes);
        }
    }

    public static string OfUtf16(ReadOnlySpan<byte> bytes) => Encoding.Unicode.GetString(bytes);

    /// <summary>Up to the first zero.</summary>
    public static string OfField(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Of(end < 0 ? field : field[..end]);
    }
}
