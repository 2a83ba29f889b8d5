using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Registry;

namespace Vmsweep.DiskReaders.Tests.Inspection.Registry;

/// <summary>A hive and its two logs in one image, as mutations and fuzzing damage them.</summary>
public static class PackedHive
{
    private const int MostDepth = 12;
    private const int MostKeys = 500;

    /// <summary>A small hive with every structure.</summary>
    public static HiveWriter Small(string name) => new HiveWriter { KeysOfLeaf = 2 }
        .Text(@"Microsoft\Windows NT\CurrentVersion", "ProductName", "Windows " + name)
        .Number(@"Microsoft\Windows NT\CurrentVersion", "UBR", 5)
        .Value("Big", "data", 3, [.. Enumerable.Range(0, 17_000).Select(i => (byte)(i * 7 >> 3))])
        .Key("c").Key("d").Key("e");

    internal static Hive Open(byte[] primary, byte[][] logs, ReadContext context) =>
        Hive.Open(new MemorySource(primary), [.. logs.Select(l => new MemorySource(l))], context);

    /// <summary>An image is the lengths of the hive and two logs, four bytes each, and the three after one another.</summary>
    public static byte[] Pack(byte[] primary, byte[] log1, byte[] log2) =>
        [.. BitConverter.GetBytes(primary.Length), .. BitConverter.GetBytes(log1.Length), .. BitConverter.GetBytes(log2.Length), .. primary, .. log1, .. log2];

    public static void Read(byte[] packed, ReadContext context)
    {
        if (packed.Length < 12)
        {
            return;
        }

        List<byte[]> files = [];
        int at = 12;
        for (int i = 0; i < 3; i++)
        {
            int length = Math.Clamp(BitConverter.ToInt32(packed, i * 4), 0, packed.Length - at);
            files.Add(packed[at..(at + length)]);
            at += length;
        }

        using Hive hive = Open(files[0], [files[1], files[2]], context);
        int keys = MostKeys;
        Visit(hive.Root, 0, ref keys);
        hive.Find(@"Microsoft\Windows NT\CurrentVersion")?.Text("ProductName");
    }

    /// <summary>Checksums of the packed files, so that what lies behind them is reached.</summary>
    public static void Repair(byte[] packed)
    {
        int at = 12;
        for (int i = 0; i < 3; i++)
        {
            int length = BitConverter.ToInt32(packed, i * 4);
            byte[] file = packed[at..(at + length)];
            HiveWriter.Repair(file);
            for (int entry = 512; i > 0 && entry + 512 <= file.Length && file.AsSpan(entry, 4).SequenceEqual("HvLE"u8);)
            {
                int size = BitConverter.ToInt32(file, entry + 4);
                BitConverter.TryWriteBytes(file.AsSpan(entry + 24), Marvin32.Of(file.AsSpan(entry + 40, size - 40)));
                BitConverter.TryWriteBytes(file.AsSpan(entry + 32), Marvin32.Of(file.AsSpan(entry, 32)));
                entry += Math.Max(size, 512);
            }

            file.CopyTo(packed, at);
            at += length;
        }
    }

    private static void Visit(HiveKey key, int depth, ref int keys)
    {
        try
        {
            foreach (HiveValue value in key.Values.Take(50))
            {
                _ = value.Text?.Length + value.Number;
                value.Data();
            }

            foreach (HiveKey child in key.Children)
            {
                if (depth < MostDepth && --keys > 0)
                {
                    Visit(child, depth + 1, ref keys);
                }
            }
        }
        catch (DiskFormatException)
        {
            // The next key may be sound.
        }
    }
}
