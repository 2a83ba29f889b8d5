using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Paging;

/// <summary>A set of page tables to be looked through.</summary>
/// <param name="IsKernel">The upper half of the addresses; otherwise the lower.</param>
internal readonly record struct SearchedSpace(ulong Root, bool IsKernel);

/// <summary>
/// Finds where physical pages are mapped, by looking through page tables for them. All tables of one level are read in the order in which they
/// lie, so that a packed image is unpacked once for each level. A table is looked at once for each space and level: loops and tables that map
/// themselves end there.
/// </summary>
internal sealed class AddressSearch(PhysicalReader memory, int levels)
{
    /// <summary>A guest of thousands of processes has some hundred thousand.</summary>
    private const int MostTables = 1 << 20;

    /// <summary>A page of a shared library may be mapped by every process.</summary>
    private const int MostMappings = 16;

    private readonly Dictionary<long, List<(int Space, ulong Address)>> _found = [];
    private long[] _wanted = [];

    /// <summary>Tables were left out, so that a page may be mapped where it was not found.</summary>
    public bool IsCutShort { get; private set; }

    /// <summary>By address of a page, where it is mapped.</summary>
    /// <param name="pages">Physical addresses of pages.</param>
    public IReadOnlyDictionary<long, List<(int Space, ulong Address)>> Find(IReadOnlyList<SearchedSpace> spaces, IEnumerable<long> pages)
    {
        _wanted = [.. pages.Distinct().Order()];
        List<Table> tables = [.. spaces.Select((s, i) => new Table(s.Root, 0, i))];
        var seen = new HashSet<(int Space, ulong Table)>();
        byte[] bytes = new byte[PhysicalReader.PageBytes];
        int looked = 0;
        for (int level = levels; level >= 1 && tables.Count > 0; level--)
        {
            tables.Sort((a, b) => a.Address.CompareTo(b.Address));
            List<Table> next = [];
            seen.Clear();
            foreach (Table table in tables)
            {
                if (++looked > MostTables)
                {
                    IsCutShort = true;
                    return _found;
                }

                if (memory.TryRead(table.Address, bytes))
                {
                    Look(table, bytes, level, spaces[table.Space].IsKernel, next, seen);
                }
            }

            tables = next;
        }

        return _found;
    }

    private void Look(Table table, byte[] bytes, int level, bool isKernel, List<Table> next, HashSet<(int Space, ulong Table)> seen)
    {
        const int Half = VirtualSpace.EntriesOfTable / 2;
        bool isTop = level == levels;
        int first = isTop && isKernel ? Half : 0;
        int end = isTop && !isKernel ? Half : VirtualSpace.EntriesOfTable;
        for (int i = first; i < end; i++)
        {
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(i * 8));
            if ((entry & VirtualSpace.Present) == 0)
            {
                continue;
            }

            ulong address = table.Virtual | ((ulong)i << VirtualSpace.Shift(level));
            if (level == 1 || (level <= 3 && (entry & VirtualSpace.IsLarge) != 0))
            {
                ulong size = VirtualSpace.LeafBytes(level);
                Leaf(entry & VirtualSpace.AddressMask & ~(size - 1), size, address, table.Space);
                continue;
            }

            ulong below = entry & VirtualSpace.AddressMask;
            if (memory.Has(below) && seen.Add((table.Space, below)) && next.Count < MostTables)
            {
                next.Add(new Table(below, address, table.Space));
            }
        }
    }

    private void Leaf(ulong physical, ulong size, ulong address, int space)
    {
        int at = Array.BinarySearch(_wanted, (long)physical);
        for (at = at < 0 ? ~at : at; at < _wanted.Length && (ulong)_wanted[at] < physical + size; at++)
        {
            if (!_found.TryGetValue(_wanted[at], out List<(int Space, ulong Address)>? mappings))
            {
                _found.Add(_wanted[at], mappings = []);
            }

            if (mappings.Count < MostMappings)
            {
                mappings.Add((space, VirtualSpace.Canonical(address + ((ulong)_wanted[at] - physical), levels)));
            }
        }
    }

    private readonly record struct Table(ulong Address, ulong Virtual, int Space);
}
