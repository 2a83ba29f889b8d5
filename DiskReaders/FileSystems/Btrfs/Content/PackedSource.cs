using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Content;

/// <summary>
/// The compressed extents of one file, unpacked, at addresses of their own: as a unit must be aligned to its size and an extent is not, each
/// begins at its sector in the file times the largest size of an extent.
/// </summary>
internal sealed class PackedSource : IBlockSource, IExtentMap, IUnpacker
{
    private const int UnitShift = 17;
    private const long MostFileOffset = 1L << 57;

    private readonly BtrfsVolume _volume;
    private readonly FileMap _map;
    private readonly IBlockSource _data;
    private readonly MappedSource _units;

    /// <param name="data">Logical addresses.</param>
    public PackedSource(BtrfsVolume volume, FileMap map, IBlockSource data)
    {
        _volume = volume;
        _map = map;
        _data = data;
        _units = new MappedSource(this, [], volume.Context, unpacker: this);
    }

    public long Length => long.MaxValue;

    public int UnitBytes => 1 << UnitShift;

    /// <summary>The address of an unpacked extent's first byte.</summary>
    public static long AddressOf(FileExtent extent, int sectorBytes) => extent.FileOffset <= MostFileOffset
        ? extent.FileOffset / sectorBytes << UnitShift
        : throw new DiskFormatException(Fault.Limit, "btrfs_file_extent_item", -1, $"a compressed extent at {extent.FileOffset} of a file");

    public void Read(long offset, Span<byte> destination) => _units.Read(offset, destination);

    public StoredExtent Locate(long offset, long count)
    {
        StoredExtent stored = _data.Locate(ExtentOf(offset).Logical, 1);
        return new StoredExtent(ExtentKind.Packed, Math.Min(count, UnitBytes - (offset & (UnitBytes - 1))), stored.File, stored.Position);
    }

    public Extent Map(long offset, long count) => new(ExtentKind.Packed, Math.Min(count, UnitBytes - (offset & (UnitBytes - 1))), offset >> UnitShift);

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        FileExtent extent = ExtentOf(unitOffset);
        using RentedBuffer packed = _volume.Context.Budget.Rent(extent.StoredBytes);
        _data.Read(extent.Logical, packed.Span);
        int ram = Math.Min(extent.RamBytes, unit.Length);
        _volume.Unpackers.Unpack(extent.Packing, packed.Memory, unit[..ram], _volume.Super.SectorBytes, extent.Logical);

        // No extent reaches beyond its own bytes, so what is left of the unit is never asked for.
        unit[ram..].Clear();
    }

    public void Dispose() => _units.Dispose();

    private FileExtent ExtentOf(long address) => _map.ExtentAt((address >> UnitShift) * _volume.Super.SectorBytes);
}
