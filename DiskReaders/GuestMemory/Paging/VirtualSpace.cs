using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.GuestMemory.Paging;

/// <summary>
/// Virtual addresses of an x86-64 guest through one set of page tables. Specification: Intel SDM volume 3A, section 4.5, "4-Level Paging and
/// 5-Level Paging".
/// </summary>
internal sealed class VirtualSpace(PhysicalReader memory, ulong root, int levels)
{
    public const ulong Present = 1;
    public const ulong IsLarge = 1 << 7;
    public const ulong AddressMask = 0x000F_FFFF_FFFF_F000;
    public const int EntriesOfTable = 512;

    /// <summary>The tables' first page.</summary>
    public ulong Root => root;

    /// <summary>4 or 5.</summary>
    public int Levels => levels;

    /// <summary>Bits of an address below those that choose an entry of a table of this level, 1 being the last.</summary>
    public static int Shift(int level) => 12 + (9 * (level - 1));

    /// <summary>Bytes that a leaf of this level maps.</summary>
    public static ulong LeafBytes(int level) => 1UL << Shift(level);

    /// <summary>Copies the top bit that counts into those that do not.</summary>
    public static ulong Canonical(ulong address, int levels)
    {
        int unused = 64 - 12 - (9 * levels);
        return unchecked((ulong)((long)(address << unused) >> unused));
    }

    /// <summary>An address of the upper half. The last of them are none, so that what stands a little behind one is an address too.</summary>
    public static bool IsKernel(ulong address) => address is >= 0xFF00_0000_0000_0000 and < 0xFFFF_FFFF_FFFF_0000;

    public bool TryTranslate(ulong address, out ulong physical)
    {
        physical = 0;
        ulong table = root;
        for (int level = levels; level >= 1; level--)
        {
            ulong index = (address >> Shift(level)) % EntriesOfTable;
            if (!memory.TryRead64(table + (index * 8), out ulong entry) || (entry & Present) == 0)
            {
                return false;
            }

            if (level == 1 || (level <= 3 && (entry & IsLarge) != 0))
            {
                ulong within = LeafBytes(level) - 1;
                physical = (entry & AddressMask & ~within) | (address & within);
                return true;
            }

            table = entry & AddressMask;
        }

        return false;
    }

    /// <summary>Fills the span; false where a page is not mapped or not in the image.</summary>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int count = (int)Math.Min((ulong)destination.Length, PhysicalReader.PageBytes - (address % PhysicalReader.PageBytes));
            if (!TryTranslate(address, out ulong physical) || !memory.TryRead(physical, destination[..count]))
            {
                return false;
            }

            address = unchecked(address + (ulong)count);
            destination = destination[count..];
        }

        return true;
    }

    public bool TryRead64(ulong address, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        bool isThere = TryRead(address, bytes);
        value = isThere ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : 0;
        return isThere;
    }
}
