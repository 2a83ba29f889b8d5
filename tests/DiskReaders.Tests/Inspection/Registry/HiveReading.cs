using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Registry;

namespace Vmsweep.DiskReaders.Tests.Inspection.Registry;

/// <summary>Reads all of a hive, and checks that each key is found by its name.</summary>
public static class HiveReading
{
    /// <summary>A line for each value, <c>path|name|type|hexadecimal data</c>, and one for each key without any.</summary>
    public static List<string> Lines(byte[] primary, params byte[][] logs)
    {
        var budget = new ScanBudget(64 << 20);
        var context = new ReadContext(budget, new GapList());
        List<string> lines = [];
        using (Hive hive = PackedHive.Open(primary, logs, context))
        {
            Add(hive.Root, "", 0, lines);
        }

        Assert.Equal(0, budget.InUse);
        lines.Sort(StringComparer.Ordinal);
        return lines;
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
