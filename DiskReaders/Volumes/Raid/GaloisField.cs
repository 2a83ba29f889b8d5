using System.Numerics;
using System.Runtime.Intrinsics;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>
/// Arithmetic of H. Peter Anvin, "The mathematics of RAID-6": GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 and the
/// generator 2. Addition is exclusive-or.
/// </summary>
internal static class GaloisField
{
    /// <summary>Powers of the generator repeat after so many, so Q serves no more data members.</summary>
    public const int Order = 255;

    private static readonly byte[] Powers = new byte[2 * Order];
    private static readonly byte[] Logarithms = new byte[256];

    static GaloisField()
    {
        int value = 1;
        for (int i = 0; i < Order; i++)
        {
            Powers[i] = Powers[i + Order] = (byte)value;
            Logarithms[value] = (byte)i;
            value <<= 1;
            value ^= value > 0xFF ? 0x11D : 0;
        }
    }

    /// <summary>The generator to a power, which may be negative.</summary>
    public static byte Power(int exponent) => Powers[((exponent % Order) + Order) % Order];

    public static byte Multiply(byte a, byte b) => a == 0 || b == 0 ? (byte)0 : Powers[Logarithms[a] + Logarithms[b]];

    /// <summary>1 / <paramref name="a"/>, which is not 0.</summary>
    public static byte Inverse(byte a) => Power(-Logarithms[a]);

    /// <summary>Adds <paramref name="source"/> to <paramref name="sum"/>.</summary>
    public static void Add(Span<byte> sum, ReadOnlySpan<byte> source)
    {
        int at = 0;
        for (; at <= sum.Length - Vector<byte>.Count; at += Vector<byte>.Count)
        {
            (new Vector<byte>(sum[at..]) ^ new Vector<byte>(source[at..])).CopyTo(sum[at..]);
        }

        for (; at < sum.Length; at++)
        {
            sum[at] ^= source[at];
        }
    }

    /// <summary>Adds <paramref name="factor"/> times <paramref name="source"/> to <paramref name="sum"/>.</summary>
    public static void AddProduct(Span<byte> sum, ReadOnlySpan<byte> source, byte factor)
    {
        // A product is that of the low nibble and that of the high one, added: two tables of 16.
        Span<byte> tables = stackalloc byte[32];
        for (int i = 0; i < 16; i++)
        {
            tables[i] = Multiply(factor, (byte)i);
            tables[16 + i] = Multiply(factor, (byte)(i << 4));
        }

        Vector128<byte> low = Vector128.Create<byte>(tables[..16]);
        Vector128<byte> high = Vector128.Create<byte>(tables[16..]);
        Vector128<byte> nibble = Vector128.Create((byte)0x0F);
        int at = 0;
        for (; at <= sum.Length - Vector128<byte>.Count; at += Vector128<byte>.Count)
        {
            Vector128<byte> bytes = Vector128.Create(source.Slice(at, Vector128<byte>.Count));
            Vector128<byte> product = Vector128.ShuffleNative(low, bytes & nibble) ^ Vector128.ShuffleNative(high, bytes >>> 4);
            (Vector128.Create<byte>(sum.Slice(at, Vector128<byte>.Count)) ^ product).CopyTo(sum[at..]);
        }

        for (; at < sum.Length; at++)
        {
            sum[at] ^= (byte)(tables[source[at] & 0x0F] ^ tables[16 + (source[at] >> 4)]);
        }
    }
}
