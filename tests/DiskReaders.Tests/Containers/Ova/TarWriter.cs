using System.Text;

namespace Vmsweep.DiskReaders.Tests.Containers.Ova;

/// <summary>Members of tar archives that no program would write.</summary>
internal static class TarWriter
{
    /// <summary>A ustar member with its bytes, padded to whole blocks.</summary>
    public static byte[] Member(string name, byte[] content, char type = '0', long? size = null)
    {
        byte[] member = new byte[512 + ((content.Length + 511) / 512 * 512)];
        Encoding.UTF8.GetBytes(name).CopyTo(member, 0);
        Encoding.ASCII.GetBytes("0000644\0" + "0000000\0" + "0000000\0").CopyTo(member, 100);
        Encoding.ASCII.GetBytes(Convert.ToString(size ?? content.Length, 8).PadLeft(11, '0')).CopyTo(member, 124);
        Encoding.ASCII.GetBytes("00000000000").CopyTo(member, 136);
        member[156] = (byte)type;
        "ustar\0"u8.CopyTo(member.AsSpan(257));
        "00"u8.CopyTo(member.AsSpan(263));
        Sum(member);
        content.CopyTo(member, 512);
        return member;
    }

    public static byte[] Archive(params byte[][] members) => [.. members.SelectMany(m => m), .. new byte[1024]];

    /// <summary>Makes every block that looks like a header say its right sum.</summary>
    public static void Repair(byte[] archive)
    {
        for (int at = 0; at + 512 <= archive.Length; at += 512)
        {
            Span<byte> block = archive.AsSpan(at, 512);
            if (at == 0 || block.Slice(257, 5).SequenceEqual("ustar"u8))
            {
                Sum(block);
            }
        }
    }

    private static void Sum(Span<byte> block)
    {
        block.Slice(148, 8).Fill((byte)' ');
        int sum = 0;
        foreach (byte b in block[..512])
        {
            sum += b;
        }

        Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ").CopyTo(block[148..]);
    }
}
