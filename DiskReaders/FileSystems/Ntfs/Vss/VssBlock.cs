using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

/// <summary>Type of a VSS structure, the field "Record type".</summary>
internal enum VssRecord : uint
{
    VolumeHeader = 1,
    Catalog = 2,
    BlockList = 3,
    StoreHeader = 4,
    Bitmap = 6,
}

/// <summary>
/// A block of 16 KiB of the catalog or of a store: a header of 128 bytes, then entries. Each names the next of its list.
/// Spec: J. Metz, "Volume Shadow Snapshot (VSS) format", "Catalog block header" and "Store block header". Little-endian.
/// </summary>
internal static class VssBlock
{
    public const int Size = 0x4000;
    public const int HeaderBytes = 128;

    /// <summary>VSS identifier: what every structure begins with.</summary>
    public static readonly Guid Identifier = new("3808876b-c176-4e48-b7ae-04046e6cc752");

    /// <summary>1 of Windows Vista to 7, 2 since Windows 8.</summary>
    public static bool IsKnownVersion(uint version) => version is 1 or 2;

    /// <summary>Calls <paramref name="read"/> with each block of a list, which may not come back to itself.</summary>
    /// <param name="first">Byte offset of the first block on the volume.</param>
    /// <param name="mostBlocks">More is no list of a volume of this size.</param>
    public static void ForEach(IBlockSource volume, long first, VssRecord type, string structure, long mostBlocks, ReadContext context, ReadEntries read)
    {
        using RentedBuffer block = context.Budget.Rent(Size);
        var visited = new HashSet<long>();
        for (long at = first; at != 0;)
        {
            context.ThrowIfCancelled();
            if (!visited.Add(at))
            {
                throw new DiskFormatException(Fault.Corrupt, structure, at, "the list comes back to a block that it had");
            }

            if (visited.Count > mostBlocks)
            {
                throw new DiskFormatException(Fault.Limit, structure, at, $"more than {mostBlocks} blocks");
            }

            LeView view = Read(volume, at, type, structure, block.Span);
            long next = view.NonNegative64(40, "next offset");
            if (!read(view, at))
            {
                return;
            }

            at = next;
        }
    }

    /// <summary>Reads a block and checks that it is the one it should be.</summary>
    public static LeView Read(IBlockSource volume, long offset, VssRecord type, string structure, Span<byte> block)
    {
        Bounds.Check(offset, block.Length, volume.Length, structure);
        volume.Read(offset, block);
        var view = new LeView(block, structure, offset);
        view.Require(view.MixedGuid(0) == Identifier, 0, "VSS identifier");
        view.Require(IsKnownVersion(view.U32(16)), 16, "version");
        view.Require(view.U32(20) == (uint)type, 20, "record type");
        view.Require(view.U64(32) == (ulong)offset, 32, "current offset");
        return view;
    }

    /// <summary>Takes one block; false ends the list.</summary>
    public delegate bool ReadEntries(LeView block, long offset);
}
