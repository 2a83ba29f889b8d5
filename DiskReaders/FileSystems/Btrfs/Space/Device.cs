using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

/// <summary>A device of the file system: a volume that was found, or one that is missing.</summary>
/// <param name="Source">What is read; of a missing device something that refuses.</param>
/// <param name="Rank">Copies are read from the lowest first: 0 up to date, 1 missed a commit, 2 missing.</param>
internal sealed record Device(ulong Id, byte[] Uuid, IBlockSource Source, int Rank)
{
    public const int Current = 0;
    public const int Stale = 1;
    public const int Missing = 2;
}

/// <summary>A device that was not given. Reading it is refused, never answered with zeros.</summary>
internal sealed class MissingDevice(ulong id, byte[] uuid) : IBlockSource
{
    public long Length => long.MaxValue;

    public void Read(long offset, Span<byte> destination) => throw Refuse(offset);

    /// <summary>What lay there is not known, so it counts as stored and is asked for, from another copy where there is one.</summary>
    public StoredExtent Locate(long offset, long count) => new(ExtentKind.Data, count, -1, offset);

    public void Dispose()
    {
    }

    private DiskFormatException Refuse(long offset) =>
        new(Fault.MissingParent, "device", offset, $"device {id} ({BtrfsSuperblock.UuidText(uuid)}) of the file system is missing");
}
