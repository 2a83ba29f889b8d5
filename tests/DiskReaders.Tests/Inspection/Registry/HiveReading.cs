using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Registry;

namespace Vmsweep.DiskReaders.Tests.Inspection.Registry;

/// <summary>Reads all of a hive.</summary>
public static class HiveReading
{
    private const int MostDepth = 12;
    private const int MostKeys = 500;

    /// <summary>A line for each value, <c>path|name|type|hexadecimal data</c>, and one for each key without any.</summary>
    public static List<string> Lines(byte[] primary, params byte[][] logs)
    {
        var budget = new ScanBudget(64 << 20);
        var context = new ReadContext(budget, new GapList());
        List<string> lines = [];
        using (Hive hive = Open(primary, logs, context))
        {
            Add(hive.Root, "", 0, lines);
        }

        Assert.Equal(0, budget.InUse);
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    internal static Hive Open(byte[] primary, byte[][] logs, ReadContext context) =>
        Hive.Open(new MemorySource(primary), [.. logs.Select(l => new MemorySource(l))], context);

    /// <summary>An image is the lengths of the hive and two logs, four bytes each, and the three after one another.</summary>
    public static byte[] Pack(byte[] primary, byte[] log1, byte[] log2) =>
        [.. BitConverter.GetBytes(primary.Length), .. BitConverter.GetBytes(log1.Length), .. BitConverter.GetBytes(log2.Length), .. primary, .. log1, .. log2];

    public static void ReadPacked(byte[] packed, ReadContext context)
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
    public static void RepairPacked(byte[] packed)
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

    private static void Add(HiveKey key, string path, int depth, List<string> lines)
    {
        Assert.True(depth < 100);
        List<HiveValue> values = [.. key.Values];
        lines.AddRange(values.Count == 0 ? [path] : values.Select(v => $"{path}|{v.Name}|{v.Type}|{Convert.ToHexString(v.Data())}"));
        foreach (HiveKey child in key.Children)
        {
            Assert.Equal(child.Offset, key.Child(child.Name.ToUpperInvariant())?.Offset);
            Add(child, $"{path}\\{child.Name}", depth + 1, lines);
        }
    }
}
