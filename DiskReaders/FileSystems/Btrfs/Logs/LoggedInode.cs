using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Logs;

/// <summary>One name of an inode that a log changes.</summary>
internal sealed record LoggedName(ulong Folder, ulong Index, byte[] Name)
{
    public bool Is(ulong folder, ReadOnlySpan<byte> name) => Folder == folder && name.SequenceEqual(Name);
}

/// <summary>An inode as it is once the log is replayed.</summary>
internal sealed class LoggedInode(ulong number)
{
    public ulong Number { get; } = number;

    /// <summary>Null while it is not known, and when there is none.</summary>
    public InodeItem? Inode { get; set; }

    public List<LoggedName> Names { get; } = [];

    /// <summary>By file offset, without overlaps.</summary>
    public List<FileExtent> Extents { get; private set; } = [];

    /// <summary>The item of an inline extent.</summary>
    public byte[]? Inline { get; set; }

    /// <summary>Logical address of <see cref="Inline"/>.</summary>
    public long InlineAt { get; set; }

    /// <summary>Why its extents are not known.</summary>
    public DiskFormatException? Fault { get; set; }

    public bool IsListed => Inode is not null && Names.Count > 0;

    /// <summary>Takes away what is shown from one offset to another.</summary>
    public void Drop(long from, long to)
    {
        List<FileExtent> left = new(Extents.Count + 1);
        foreach (FileExtent extent in Extents)
        {
            if (extent.End <= from || extent.FileOffset >= to)
            {
                left.Add(extent);
                continue;
            }

            if (extent.FileOffset < from)
            {
                left.Add(extent.Part(extent.FileOffset, from));
            }

            if (extent.End > to)
            {
                left.Add(extent.Part(to, extent.End));
            }
        }

        Extents = left;
    }

    /// <summary>Shows an extent in place of what was there.</summary>
    public void Put(FileExtent extent, int sectorBytes)
    {
        long end = (extent.End + sectorBytes - 1) / sectorBytes * sectorBytes;
        Drop(extent.FileOffset, Math.Max(end, extent.FileOffset));
        int at = Extents.FindIndex(e => e.FileOffset >= extent.FileOffset);
        Extents.Insert(at < 0 ? Extents.Count : at, extent);
    }
}
