using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

/// <summary>The devices of a file system as they are met: the given volumes first, others as missing ones.</summary>
internal sealed class DeviceSet
{
    // BTRFS_MAX_DEVICES is bounded by the size of a chunk item; no chunk of hostile length may name more devices than this.
    private const int MostDevices = 4096;

    private readonly List<Device> _devices = [];
    private readonly List<IBlockSource> _sources = [];

    private DeviceSet(BtrfsSuperblock super) => Super = super;

    /// <summary>The superblock of the device that took part in the last commit.</summary>
    public BtrfsSuperblock Super { get; }

    public IReadOnlyList<Device> All => _devices;

    /// <summary>What the file system covers of the volume that was given first; 0 when that is not known.</summary>
    public long FirstVolumeBytes { get; private init; }

    /// <summary>What a stripe's device counts.</summary>
    public IReadOnlyList<IBlockSource> Sources => _sources;

    public IEnumerable<Device> Missing => _devices.Where(d => d.Rank == Device.Missing);

    /// <summary>Reads the superblocks of the volumes and takes what belongs to the newest.</summary>
    /// <exception cref="DiskFormatException">No volume has a sound superblock.</exception>
    public static DeviceSet Of(IReadOnlyList<IBlockSource> volumes, IGapSink gaps)
    {
        List<(IBlockSource Volume, BtrfsSuperblock Super)> found = [];
        DiskFormatException? fault = null;
        foreach (IBlockSource volume in volumes)
        {
            try
            {
                found.Add((volume, SuperblockReader.Read(volume, gaps)));
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
                gaps.Add(new CoverageGap(e, "", volume.Length));
            }
        }

        if (found.Count == 0)
        {
            throw fault ?? new DiskFormatException(Fault.Corrupt, BtrfsSuperblock.Structure, SuperblockReader.Primary, "no volume");
        }

        // The file system is that of the first volume: a seed that is given too has an older one of its own.
        BtrfsSuperblock super = found.Where(f => f.Super.Fsid.AsSpan().SequenceEqual(found[0].Super.Fsid)).MaxBy(f => f.Super.Generation).Super;
        var set = new DeviceSet(super) { FirstVolumeBytes = found[0].Volume == volumes[0] ? found[0].Super.Device.TotalBytes : 0 };
        foreach ((IBlockSource volume, BtrfsSuperblock own) in found.OrderByDescending(f => f.Super.Generation))
        {
            if (set._devices.Find(d => d.Id == own.Device.Id && d.Uuid.AsSpan().SequenceEqual(own.Device.Uuid)) is not null)
            {
                gaps.Add(new CoverageGap(Fault.Corrupt, "", "device", -1, volume.Length, $"device {own.Device.Id} was found twice; the one of generation {own.Generation} is not read"));
                continue;
            }

            if (own.Device.TotalBytes > volume.Length)
            {
                gaps.Add(new CoverageGap(Fault.Truncated, "", "btrfs_dev_item", volume.Length, own.Device.TotalBytes - volume.Length, $"the volume of device {own.Device.Id} is shorter than the file system's part on it"));
            }

            bool isSeed = !own.Fsid.AsSpan().SequenceEqual(super.Fsid);
            set.Add(new Device(own.Device.Id, own.Device.Uuid, volume, isSeed || own.Generation >= super.Generation ? Device.Current : Device.Stale));
        }

        return set;
    }

    /// <summary>The number of a device; one that is not there is added as missing.</summary>
    public int IndexOf(ulong id, byte[] uuid)
    {
        int at = _devices.FindIndex(d => d.Id == id && d.Uuid.AsSpan().SequenceEqual(uuid));
        if (at >= 0)
        {
            return at;
        }

        if (_devices.Count >= MostDevices)
        {
            throw new DiskFormatException(Fault.Limit, "btrfs_chunk", -1, $"more than {MostDevices} devices");
        }

        Add(new Device(id, uuid, new MissingDevice(id, uuid), Device.Missing));
        return _devices.Count - 1;
    }

    private void Add(Device device)
    {
        _devices.Add(device);
        _sources.Add(device.Source);
    }
}
