using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>
/// VHDX "Metadata Table" and its known items. Spec: [MS-VHDX] 2.6. Little-endian; the table is 64 KiB, the items lie behind it in
/// the region. It carries no checksum.
/// </summary>
internal sealed class MetadataTable
{
    private const string Name = "VHDX Metadata Table";
    private const int Size = 64 << 10;
    private const int HeaderBytes = 32;
    private const int EntryBytes = 32;
    private const int MostEntries = 2047;
    private const int MostUserEntries = 1024;
    private const uint MostItemBytes = 1 << 20;
    private const ulong Signature = 0x6174_6164_6174_656D; // "metadata"
    private const uint LeastBlockBytes = 1 << 20;
    private const uint MostBlockBytes = 256 << 20;
    private const long MostDiskBytes = 64L << 40;

    private static readonly Guid FileParameters = new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
    private static readonly Guid VirtualDiskSize = new("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
    private static readonly Guid VirtualDiskId = new("BECA12AB-B2E6-4523-93EF-C309E000C746");
    private static readonly Guid LogicalSectorSize = new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
    private static readonly Guid PhysicalSectorSize = new("CDA348C7-445D-4471-9CC9-E9885251C556");
    private static readonly Guid ParentLocatorItem = new("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");
    private static readonly Guid[] Known = [FileParameters, VirtualDiskSize, VirtualDiskId, LogicalSectorSize, PhysicalSectorSize, ParentLocatorItem];

    private MetadataTable(IBlockSource image, Region region, ReadContext context)
    {
        Dictionary<Guid, Region> items;
        using (RentedBuffer table = context.Budget.Rent(Size))
        {
            image.Read(region.Offset, table.Span);
            items = Items(new LeView(table.Span, Name, region.Offset), region);
        }

        Span<byte> field = stackalloc byte[16];
        LeView v = Item(image, items, FileParameters, field[..8], "VHDX File Parameters");
        BlockBytes = v.U32(0);
        v.Require(BlockBytes is >= LeastBlockBytes and <= MostBlockBytes && BitOperations.IsPow2(BlockBytes), 0, "BlockSize");
        LeaveBlocksAllocated = (v.U32(4) & 1) != 0;
        bool hasParent = (v.U32(4) & 2) != 0;

        v = Item(image, items, LogicalSectorSize, field[..4], "VHDX Logical Sector Size");
        SectorBytes = SectorSize(v, "LogicalSectorSize");
        if (items.ContainsKey(PhysicalSectorSize))
        {
            v = Item(image, items, PhysicalSectorSize, field[..4], "VHDX Physical Sector Size");
            SectorSize(v, "PhysicalSectorSize");
        }

        if (items.ContainsKey(VirtualDiskId))
        {
            // Only that it is what it should be: nothing here tells disks apart by it.
            Item(image, items, VirtualDiskId, field, "VHDX Virtual Disk ID");
        }

        v = Item(image, items, VirtualDiskSize, field[..8], "VHDX Virtual Disk Size");
        DiskBytes = v.NonNegative64(0, "VirtualDiskSize");
        v.Require(DiskBytes is > 0 and <= MostDiskBytes && DiskBytes % SectorBytes == 0, 0, "VirtualDiskSize");

        if (hasParent)
        {
            if (!items.TryGetValue(ParentLocatorItem, out Region locator) || locator.Length == 0)
            {
                throw new DiskFormatException(Fault.Corrupt, Name, region.Offset, "HasParent is set and there is no parent locator");
            }

            Parent = ParentLocator.Read(image, locator, context.Budget);
        }
    }

    public uint BlockBytes { get; }

    public bool LeaveBlocksAllocated { get; }

    public int SectorBytes { get; }

    public long DiskBytes { get; }

    /// <summary>Set exactly where HasParent is.</summary>
    public ParentLocator? Parent { get; }

    public static MetadataTable Read(IBlockSource image, Region region, ReadContext context) => new(image, region, context);

    private static Dictionary<Guid, Region> Items(LeView v, Region region)
    {
        v.Require(v.U64(0) == Signature, 0, "Signature");
        int count = v.U16(10);
        v.Require(count <= MostEntries, 10, "EntryCount");
        Dictionary<Guid, Region> system = [];
        HashSet<Guid> user = [];
        List<Region> ranges = [];
        for (int i = 0; i < count; i++)
        {
            LeView entry = v.Inner(HeaderBytes + (i * EntryBytes), EntryBytes, "VHDX Metadata Table Entry");
            Guid id = entry.MixedGuid(0);
            long offset = entry.U32(16);
            uint length = entry.U32(20);
            uint flags = entry.U32(24);
            bool isUser = (flags & 1) != 0;
            entry.Require(length <= MostItemBytes, 20, "Length");
            entry.Require(length == 0 ? offset == 0 : offset >= Size, 16, "Offset");
            entry.Require(offset + length <= region.Length, 16, "Offset: the item lies outside the metadata region");
            var item = new Region(region.Offset + offset, length);
            if (length > 0)
            {
                ranges.Add(item);
            }

            entry.Require(isUser ? user.Add(id) : system.TryAdd(id, item), 0, "ItemID: it is there twice");
            entry.Require(user.Count <= MostUserEntries, 24, "IsUser: too many user entries");
            if ((flags & 4) != 0 && (isUser || !Known.Contains(id)))
            {
                throw entry.Unsupported(0, $"required metadata item {id:B}");
            }
        }

        ranges.Sort((a, b) => a.Offset.CompareTo(b.Offset));
        for (int i = 1; i < ranges.Count; i++)
        {
            v.Require(ranges[i].Offset >= ranges[i - 1].End, HeaderBytes, "table: two items overlap");
        }

        return system;
    }

    /// <summary>Fills <paramref name="field"/> with an item of exactly its length.</summary>
    private static LeView Item(IBlockSource image, Dictionary<Guid, Region> items, Guid id, Span<byte> field, string name)
    {
        if (!items.TryGetValue(id, out Region item))
        {
            throw new DiskFormatException(Fault.Corrupt, name, -1, "the metadata table has no such item");
        }

        if (item.Length != field.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, name, item.Offset, $"the item has {item.Length} bytes, not {field.Length}");
        }

        image.Read(item.Offset, field);
        return new LeView(field, name, item.Offset);
    }

    private static int SectorSize(LeView v, string field)
    {
        uint value = v.U32(0);
        v.Require(value is 512 or 4096, 0, field);
        return (int)value;
    }
}
