using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>The file systems that are read, in the order in which they are tried.</summary>
public static class FileSystemFormats
{
    /// <summary>Formats with a magic number of their own.</summary>
    public static readonly IReadOnlyList<IFileSystemFormat> Strong = [new NtfsFormat(), new ExtFormat()];

    /// <summary>FAT has no magic number, only plausible values: it comes after everything that is recognised.</summary>
    public static readonly IReadOnlyList<IFileSystemFormat> Weak = [new FatFormat()];

    /// <summary>What a volume holds: a format that is read, a name that is only recognised, or neither.</summary>
    public static (IFileSystemFormat? Format, Recognised? Known) Identify(IBlockSource volume)
    {
        // Membership of an array or an encrypted volume comes first: what shows through a mirror's first bytes is not the volume.
        if (KnownVolumes.Recognise(volume) is { } member)
        {
            return (null, member);
        }

        if (Strong.FirstOrDefault(f => f.Probe(volume)) is { } strong)
        {
            return (strong, null);
        }

        if (KnownFileSystems.Recognise(volume) is { } known)
        {
            return (null, known);
        }

        return (Weak.FirstOrDefault(f => f.Probe(volume)), null);
    }
}
