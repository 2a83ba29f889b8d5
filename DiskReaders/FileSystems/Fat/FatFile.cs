namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>A file or folder with the first cluster of its chain; 0 where nothing is stored.</summary>
internal sealed class FatFile : GuestFile
{
    public required uint FirstCluster { get; init; }
}
