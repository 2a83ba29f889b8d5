using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>RAID1: each member holds all; the first sound one is read.</summary>
internal sealed class MirrorMap : IExtentMap
{
    private readonly DistrustMap _distrust;
    private readonly int _disks;

    public MirrorMap(RaidGeometry geometry, DistrustMap distrust)
    {
        if (distrust.Missing.Count == geometry.Disks)
        {
            throw RaidSource.TooFew(distrust.Missing, geometry.Disks);
        }

        _distrust = distrust;
        _disks = geometry.Disks;
        Length = geometry.DeviceBytes;
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        for (int device = 0; device < _disks; device++)
        {
            long length = count;
            if (_distrust.IsSound(device, offset, ref length))
            {
                return new Extent(ExtentKind.Data, length, offset, device);
            }
        }

        throw new DiskFormatException(Fault.Corrupt, "RAID members", offset, "no mirror holds these bytes soundly");
    }
}
