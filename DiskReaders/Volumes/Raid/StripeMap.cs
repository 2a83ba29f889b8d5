using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>
/// RAID0 and linear. md(4), "RAID0": members of unequal size make zones. All take part in the first, up to the end of the smallest;
/// those that are longer in the next, and so on. A linear array is one zone for each member.
/// </summary>
internal sealed class StripeMap : IExtentMap
{
    private const int SectorBytes = 512;

    private readonly List<Zone> _zones = [];
    private readonly DistrustMap _distrust;
    private readonly long _chunk;
    private readonly bool _isOriginal;

    public StripeMap(RaidGeometry geometry, IReadOnlyList<IBlockSource?> devices, DistrustMap distrust)
    {
        if (distrust.Missing.Count > 0)
        {
            throw RaidSource.TooFew(distrust.Missing, geometry.Disks);
        }

        _distrust = distrust;
        _chunk = geometry.ChunkBytes;
        _isOriginal = geometry.Layout == RaidGeometry.Raid0Original;
        long[] sizes = [.. devices.Select(d => _chunk == 0 ? d!.Length : d!.Length - (d.Length % _chunk))];
        if (geometry.Level == RaidLevel.Linear)
        {
            for (int i = 0; i < sizes.Length; i++)
            {
                Add(0, sizes[i], [i]);
            }

            return;
        }

        long start = 0;
        foreach (long size in sizes.Distinct().Order())
        {
            Add(start, size - start, [.. Enumerable.Range(0, sizes.Length).Where(i => sizes[i] >= size)]);
            start = size;
        }

        if (_zones.Count > 1 && _zones[1].Devices.Length > 1 && geometry.Layout is not (RaidGeometry.Raid0Original or RaidGeometry.Raid0Alternate))
        {
            throw new DiskFormatException(
                Fault.Unsupported, "RAID geometry", -1, "members of unequal size, and no layout says in which of two ways Linux striped them");
        }

        // Linux counts each member's sectors with the bits of the chunk size less one cleared. Where that is no power of two, the
        // array ends before its members do, and what lies behind belongs to no one.
        long length = sizes.Sum(s => s & ~(_chunk - SectorBytes));
        Length = Math.Min(Length, length);
    }

    public long Length { get; private set; }

    public Extent Map(long offset, long count)
    {
        Zone zone = ZoneOf(offset);
        long within = offset - zone.Start;
        long length = Math.Min(count, zone.Length - within);
        int device = zone.Devices[0];
        if (zone.Devices.Length > 1)
        {
            long chunk = Math.DivRem(within, _chunk, out long inChunk);
            long row = Math.DivRem(chunk, zone.Devices.Length, out long turn);
            if (_isOriginal)
            {
                turn = offset / _chunk % zone.Devices.Length;
            }

            device = zone.Devices[turn];
            length = Math.Min(length, _chunk - inChunk);
            within = (row * _chunk) + inChunk;
        }

        long at = zone.DeviceStart + within;
        return _distrust.IsSound(device, at, ref length)
            ? new Extent(ExtentKind.Data, length, at, device)
            : throw new DiskFormatException(Fault.Corrupt, "RAID members", offset, $"member {device} does not hold the bytes at {at} soundly, and it alone has them");
    }

    private void Add(long deviceStart, long deviceLength, int[] devices)
    {
        if (deviceLength > 0)
        {
            long length = deviceLength * devices.Length;
            _zones.Add(new Zone(Length, length, deviceStart, devices));
            Length += length;
        }
    }

    private Zone ZoneOf(long offset)
    {
        int low = 0;
        int high = _zones.Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) >>> 1;
            if (_zones[middle].Start <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return _zones[low];
    }

    private sealed record Zone(long Start, long Length, long DeviceStart, int[] Devices);
}
