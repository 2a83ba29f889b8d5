using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.DiskReaders.FileSystems.ExFat;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.DiskReaders.FileSystems.Iso9660;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.DiskReaders.FileSystems.SquashFs;
using Vmsweep.DiskReaders.FileSystems.Udf;
using Vmsweep.DiskReaders.FileSystems.Xfs;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>The file systems that are read, and which of them a volume holds.</summary>
public static class FileSystemFormats
{
    /// <summary>FAT last: it has no magic number of its own, only plausible values.</summary>
    public static readonly IReadOnlyList<IFileSystemFormat> Readable =
    [
        new NtfsFormat(), new ExtFormat(), new XfsFormat(), new BtrfsFormat(), new ExFatFormat(), new UdfFormat(), new Iso9660Format(), new SquashFsFormat(), new ErofsFormat(),
        new FatFormat(),
    ];

    /// <summary>True when the bytes say by a magic number of their own what they hold, so that no partition table is looked for.</summary>
    public static bool SaysItself(IBlockSource source) =>
        KnownVolumes.Recognise(source) is not null
        || Readable.Any(f => f is not FatFormat && f.Probe(source))
        || KnownFileSystems.Recognise(source) is not null;

    /// <summary>True when anything is known of what the bytes hold.</summary>
    internal static bool IsKnown(IBlockSource source) => SaysItself(source) || Readable.Any(f => f is FatFormat && f.Probe(source));

    /// <summary>True for a file system of optical discs.</summary>
    internal static bool IsDisc(IBlockSource source) => Disc(source) is not null;

    /// <summary>What a volume holds. Several answers are possible where somebody wants a scanner to see another file system than the guest does.</summary>
    public static VolumeIdentity Identify(IBlockSource volume)
    {
        // Membership of an array or an encrypted volume comes first: what shows through a mirror's first bytes is not the volume.
        if (KnownVolumes.Recognise(volume) is { } member)
        {
            // Discs that Macs boot too have an Apple map beside what all others read; its partitions are looked at as those of any other table.
            return member.Name == KnownVolumes.AppleMapName && Disc(volume) is { } disc ? new VolumeIdentity([disc], null) : new VolumeIdentity([], member);
        }

        List<IFileSystemFormat> readable = [.. Readable.Where(f => f.Probe(volume))];
        if (readable.Exists(f => f is UdfFormat))
        {
            // Discs say both on purpose, for old systems; those that know UDF read it.
            readable.RemoveAll(f => f is Iso9660Format);
        }

        Recognised? known = KnownFileSystems.Recognise(volume);
        if (readable.Count == 0 && known is null && Readable.FirstOrDefault(f => f.ProbeCopy(volume)) is { } copy)
        {
            readable.Add(copy);
        }

        return new VolumeIdentity(readable, known);
    }

    private static IFileSystemFormat? Disc(IBlockSource volume) => Readable.FirstOrDefault(f => f is UdfFormat or Iso9660Format && f.Probe(volume));
}

/// <param name="Readable">Formats whose first structures are there, the most telling first.</param>
/// <param name="Known">What is recognised by name only; null when nothing is.</param>
public sealed record VolumeIdentity(IReadOnlyList<IFileSystemFormat> Readable, Recognised? Known)
{
    /// <summary>All names, for a gap when there is more than one.</summary>
    public IReadOnlyList<string> Names => [.. Readable.Select(f => f.Name), .. Known is null ? [] : (string[])[Known.Name]];
}
