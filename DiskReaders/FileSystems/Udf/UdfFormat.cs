using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>UDF, revisions 1.02 to 2.60. Spec: ECMA-167, third edition; OSTA "Universal Disk Format Specification", revision 2.60.</summary>
public sealed class UdfFormat : IFileSystemFormat
{
    /// <summary>Where the volume recognition sequence begins (ECMA-167, 2/8.3).</summary>
    private const int SequenceAt = 0x8000;

    private const int MostDescriptors = 64;

    public string Name => "udf";

    public FormatSupport Support { get; } = new(
        "UDF",
        "all revisions; virtual, sparable and metadata partitions, named streams, ICB strategies 4 and 4096, both descriptor sequences",
        "volumes on several discs");

    /// <summary>The recognition sequence says so; beside an ISO 9660 only with a sound anchor, since one without is read as that.</summary>
    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        (bool isUdf, bool isIso) = Recognise(volume);
        return isUdf && (!isIso || UdfAnchor.Find(volume).Any());
    }

    /// <summary>By an anchor: the recognition sequence may be missing or overwritten.</summary>
    public bool ProbeCopy(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return UdfAnchor.Find(volume).Any();
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        return new UdfFileSystem(volume, context);
    }

    // Descriptors of 2 KiB, or of the sector's size where that is more.
    private static (bool IsUdf, bool IsIso) Recognise(IBlockSource volume)
    {
        bool isIso = volume.HasAt(SequenceAt + 1, "CD001"u8);
        foreach (int step in (ReadOnlySpan<int>)[2048, 4096, 8192, 16384, 32768])
        {
            for (int i = 0; i < MostDescriptors; i++)
            {
                long at = SequenceAt + ((long)i * step) + 1;
                if (volume.HasAt(at, "NSR02"u8) || volume.HasAt(at, "NSR03"u8))
                {
                    return (true, isIso);
                }

                if (!volume.HasAt(at, "CD001"u8) && !volume.HasAt(at, "BEA01"u8) && !volume.HasAt(at, "BOOT2"u8) && !volume.HasAt(at, "TEA01"u8) && !volume.HasAt(at, "CDW02"u8))
                {
                    break;
                }
            }
        }

        return (false, isIso);
    }
}
