using System.Numerics;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

/// <summary>
/// RAID 6 over GF(2^8) with polynomial 0x11D and generator 2: P is the sum of the data, Q the sum of data times powers of the generator.
/// H. P. Anvin, "The mathematics of RAID-6".
/// </summary>
internal static class Parity
{
    private const int Polynomial = 0x11D;
    private const int Order = 255;

    private static readonly byte[] Powers = MakePowers();
    private static readonly byte[] Logs = MakeLogs();

    public static byte Power(int exponent) => Powers[exponent % Order];

    public static byte Inverse(byte value) => Powers[(Order - Logs[value]) % Order];

    public static byte Multiply(byte a, byte b) => a == 0 || b == 0 ? (byte)0 : Powers[(Logs[a] + Logs[b]) % Order];

    public static void Xor(Span<byte> sum, ReadOnlySpan<byte> with)
    {
        int i = 0;
        for (; i <= sum.Length - Vector<byte>.Count; i += Vector<byte>.Count)
        {
            (new Vector<byte>(sum[i..]) ^ new Vector<byte>(with[i..])).CopyTo(sum[i..]);
        }

        for (; i < sum.Length; i++)
        {
            sum[i] ^= with[i];
        }
    }

    /// <summary>Adds <paramref name="data"/> times <paramref name="factor"/>.</summary>
    public static void AddMultiple(Span<byte> sum, ReadOnlySpan<byte> data, byte factor)
    {
        Span<byte> products = stackalloc byte[256];
        Products(factor, products);
        for (int i = 0; i < sum.Length; i++)
        {
            sum[i] ^= products[data[i]];
        }
    }

    public static void Scale(ReadOnlySpan<byte> data, byte factor, Span<byte> result)
    {
        Span<byte> products = stackalloc byte[256];
        Products(factor, products);
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = products[data[i]];
        }
    }

    /// <summary>From what remains of P and Q without stripes x and y, the data of x, in place of P.</summary>
    public static void SolveTwo(Span<byte> p, ReadOnlySpan<byte> q, int x, int y)
    {
        // Dx = (g^(y-x) Pxy + g^-x Qxy) / (g^(y-x) + 1).
        byte ratio = Multiply(Power(y), Inverse(Power(x)));
        byte divisor = Inverse((byte)(ratio ^ 1));
        byte a = Multiply(ratio, divisor);
        byte b = Multiply(Inverse(Power(x)), divisor);
        Span<byte> ofP = stackalloc byte[256];
        Span<byte> ofQ = stackalloc byte[256];
        Products(a, ofP);
        Products(b, ofQ);
        for (int i = 0; i < p.Length; i++)
        {
            p[i] = (byte)(ofP[p[i]] ^ ofQ[q[i]]);
        }
    }

    private static void Products(byte factor, Span<byte> products)
    {
        for (int i = 0; i < products.Length; i++)
        {
            products[i] = Multiply((byte)i, factor);
        }
    }

    private static byte[] MakePowers()
    {
        byte[] powers = new byte[Order];
        int value = 1;
        for (int i = 0; i < Order; i++)
        {
            powers[i] = (byte)value;
            value <<= 1;
            value = value > byte.MaxValue ? value ^ Polynomial : value;
        }

        return powers;
    }

    private static byte[] MakeLogs()
    {
        byte[] logs = new byte[256];
        byte[] powers = MakePowers();
        for (int i = 0; i < Order; i++)
        {
            logs[powers[i]] = (byte)i;
        }

        return logs;
    }
}
