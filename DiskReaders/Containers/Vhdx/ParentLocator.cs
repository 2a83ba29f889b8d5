using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>VHDX "Parent Locator". Spec: [MS-VHDX] 2.6.2.6. Little-endian; keys and values are UTF-16 without terminator.</summary>
internal sealed class ParentLocator
{
    private const string Name = "VHDX Parent Locator";
    private const int HeaderBytes = 20;
    private const int EntryBytes = 12;

    /// <summary>A Windows path has at most 32,767 UTF-16 units.</summary>
    private const int MostValueBytes = 65_534;

    private static readonly Guid VhdxLocator = new("B04AEFB7-D19E-4A81-B789-25B8E9445913");

    /// <summary>The order in which a reader tries the paths: the volume's GUID means nothing outside the machine that wrote it.</summary>
    private static readonly string[] PathKeys = ["relative_path", "absolute_win32_path", "volume_path"];

    private static readonly string[] Keys = ["parent_linkage", "parent_linkage2", .. PathKeys];

    private ParentLocator(LeView v)
    {
        if (v.MixedGuid(0) != VhdxLocator)
        {
            throw v.Unsupported(0, $"LocatorType {v.MixedGuid(0):B}");
        }

        Dictionary<string, string> values = Values(v);
        v.Require(values.ContainsKey("parent_linkage"), HeaderBytes, "locator: it has no parent_linkage");
        Linkage = Identity(v, values["parent_linkage"]);
        Linkage2 = values.TryGetValue("parent_linkage2", out string? second) ? Identity(v, second) : null;
        Paths = [.. PathKeys.Where(values.ContainsKey).Select(key => values[key]).Where(path => path.Length > 0)];
        v.Require(Paths.Count > 0, HeaderBytes, "locator: it names no path");
    }

    /// <summary>DataWriteGuid of the parent, in the form of <see cref="VirtualDisk.Identity"/>.</summary>
    public string Linkage { get; }

    /// <summary>A second identity that the parent may have while a chain is being merged.</summary>
    public string? Linkage2 { get; }

    /// <summary>The parent's paths as found, at least one. Guest-controlled text.</summary>
    public IReadOnlyList<string> Paths { get; }

    public static ParentLocator Read(IBlockSource image, Region item, ScanBudget budget)
    {
        using RentedBuffer buffer = budget.Rent((int)item.Length);
        image.Read(item.Offset, buffer.Span);
        return new ParentLocator(new LeView(buffer.Span, Name, item.Offset));
    }

    private static Dictionary<string, string> Values(LeView v)
    {
        Dictionary<string, string> values = new(StringComparer.Ordinal);
        int count = v.U16(18);
        for (int i = 0; i < count; i++)
        {
            LeView entry = v.Inner(HeaderBytes + (i * EntryBytes), EntryBytes, "VHDX Parent Locator Entry");
            long keyAt = entry.U32(0);
            long valueAt = entry.U32(4);
            int keyBytes = entry.U16(8);
            int valueBytes = entry.U16(10);
            entry.Require(keyAt > 0 && keyBytes > 0 && keyAt + keyBytes <= v.Length, 0, "KeyOffset or KeyLength");
            entry.Require(valueAt > 0 && valueBytes > 0 && valueAt + valueBytes <= v.Length, 4, "ValueOffset or ValueLength");
            if (Array.Find(Keys, k => k.Length * 2 == keyBytes) is null)
            {
                continue; // Never decoded: 65,535 entries may all point to the same 64 KiB.
            }

            string key = Encoding.Unicode.GetString(v.Field((int)keyAt, keyBytes));
            if (Array.IndexOf(Keys, key) >= 0)
            {
                entry.Require(valueBytes % 2 == 0 && valueBytes <= MostValueBytes, 10, "ValueLength");
                entry.Require(values.TryAdd(key, Encoding.Unicode.GetString(v.Field((int)valueAt, valueBytes))), 0, "key: it is there twice");
            }
        }

        return values;
    }

    private static string Identity(LeView v, string value)
    {
        v.Require(Guid.TryParseExact(value, "B", out Guid guid) || Guid.TryParseExact(value, "D", out guid), HeaderBytes, "parent_linkage");
        return guid.ToString("D");
    }
}
