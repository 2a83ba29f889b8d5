using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>
/// The lists of a key's subkeys: index leaf (li), fast leaf (lf), hash leaf (lh), and the index root (ri) over any of them. Spec:
/// "Windows registry file format specification", "Index leaf" to "Index root".
/// </summary>
internal static class SubkeyList
{
    private const string Structure = "registry subkeys list";
    private const int HeaderBytes = 4;
    private const int MostBytes = HeaderBytes + (ushort.MaxValue * 8);

    /// <summary>The offsets of key nodes.</summary>
    /// <param name="name">Only those that may have this name, as far as the list tells.</param>
    public static IEnumerable<uint> Offsets(Hive hive, uint list, string? name)
    {
        (bool isRoot, uint[] entries) = Entries(hive, list, name);
        if (!isRoot)
        {
            return entries;
        }

        return entries.SelectMany(inner => Entries(hive, inner, name) is (false, var leaf)
            ? leaf
            : throw new DiskFormatException(Fault.Corrupt, Structure, Hive.FileOffset(inner), "an index root inside another"));
    }

    private static (bool IsRoot, uint[] Entries) Entries(Hive hive, uint list, string? name)
    {
        using RentedBuffer cell = hive.Cell(list, MostBytes, Structure);
        var v = new LeView(cell.Span, Structure, Hive.FileOffset(list));
        ReadOnlySpan<byte> kind = v.Field(0, 2);
        bool isRoot = kind.SequenceEqual("ri"u8);
        bool isHashed = kind.SequenceEqual("lh"u8);
        bool isWide = isHashed || kind.SequenceEqual("lf"u8);
        v.Require(isRoot || isWide || kind.SequenceEqual("li"u8), 0, "Signature");
        int count = v.U16(2);
        int step = isWide ? 8 : 4;
        v.Field(HeaderBytes, count * step);
        uint hash = name is null ? 0 : Hash(name);
        uint[] entries = new uint[count];
        int used = 0;
        for (int i = 0; i < count; i++)
        {
            int at = HeaderBytes + (i * step);
            if (name is null || !isHashed || v.U32(at + 4) == hash)
            {
                entries[used++] = v.U32(at);
            }
        }

        return (isRoot, entries[..used]);
    }

    /// <summary>Spec: "Hash leaf", note. Names that are looked for here are ASCII, so that every table of upper case has the same.</summary>
    private static uint Hash(string name)
    {
        uint hash = 0;
        foreach (char c in name)
        {
            hash = unchecked((37 * hash) + char.ToUpperInvariant(c));
        }

        return hash;
    }
}
