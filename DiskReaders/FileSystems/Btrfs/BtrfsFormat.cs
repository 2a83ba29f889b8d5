using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>Btrfs on one or several volumes. Specification: btrfs.readthedocs.io, "On-disk Format" and "Btrfs design".</summary>
public sealed class BtrfsFormat : IFileSystemFormat
{
    public string Name => "btrfs";

    public FormatSupport Support { get; } = new(
        "Btrfs",
        "one and several devices in all profiles, zlib, LZO, zstd, subvolumes and snapshots as folders, checksums verified with other copies tried, log tree replayed",
        "missing devices beyond redundancy, RAID stripe tree, extent tree v2");

    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return volume.HasAt(SuperblockReader.Primary + BtrfsSuperblock.MagicAt, "_BHRfS_M"u8);
    }

    public bool ProbeCopy(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return SuperblockReader.Newest(volume) is not null;
    }

    /// <summary>The file system's id, where it has more than one device.</summary>
    public string? SpanIdentity(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        BtrfsSuperblock? super = SuperblockReader.TryRead(volume, SuperblockReader.Primary, out _) ?? SuperblockReader.Newest(volume);
        return super is { NumDevices: > 1 } ? super.FsidText : null;
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context) => Open([volume], context);

    public IFileSystem Open(IReadOnlyList<IBlockSource> volumes, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volumes);
        ArgumentNullException.ThrowIfNull(context);
        var volume = new BtrfsVolume(volumes, context);
        try
        {
            List<string> notes = [];
            Logs.LogReplay.Replay(volume, notes);
            return new BtrfsFileSystem(volume, volumes[0], notes);
        }
        catch
        {
            volume.Dispose();
            throw;
        }
    }
}
