using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>
/// Finds the superblock of a device. Linux mounts by the first copy, so that copy is the file system when it is sound, and others are looked
/// at only when it is not: the newest of them. A sound copy that is newer than the first says that something was not written, or was hidden.
/// </summary>
internal static class SuperblockReader
{
    public const long Primary = 64L << 10;

    private static readonly long[] Copies = [64L << 20, 256L << 30];

    /// <exception cref="DiskFormatException">No copy is sound.</exception>
    public static BtrfsSuperblock Read(IBlockSource volume, IGapSink gaps)
    {
        BtrfsSuperblock? first = TryRead(volume, Primary, out DiskFormatException? fault);
        BtrfsSuperblock? copy = Newest(volume);
        if (first is null)
        {
            if (copy is null)
            {
                throw fault!;
            }

            gaps.Add(new CoverageGap(fault!, "", BtrfsSuperblock.Size) { Detail = $"{fault!.Detail}; the copy at {copy.Offset} was used" });
            return copy;
        }

        if (copy is not null && copy.Generation > first.Generation && copy.Fsid.AsSpan().SequenceEqual(first.Fsid))
        {
            gaps.Add(new CoverageGap(Fault.Corrupt, "", BtrfsSuperblock.Structure, copy.Offset, 0, $"the copy is of generation {copy.Generation}, newer than the first's {first.Generation}; the first is read, as Linux does"));
        }

        return first;
    }

    /// <summary>The newest of the sound copies; null when there is none.</summary>
    public static BtrfsSuperblock? Newest(IBlockSource volume)
    {
        BtrfsSuperblock? newest = null;
        foreach (long offset in Copies)
        {
            if (TryRead(volume, offset, out _) is { } copy && (newest is null || copy.Generation > newest.Generation))
            {
                newest = copy;
            }
        }

        return newest;
    }

    public static BtrfsSuperblock? TryRead(IBlockSource volume, long offset, out DiskFormatException? fault)
    {
        fault = null;
        byte[] bytes = new byte[BtrfsSuperblock.Size];
        try
        {
            volume.Read(offset, bytes);
            return new BtrfsSuperblock(new LeView(bytes, BtrfsSuperblock.Structure, offset));
        }
        catch (DiskFormatException e)
        {
            fault = e;
            return null;
        }
    }
}
