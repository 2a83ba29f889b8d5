using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>An opened XFS.</summary>
internal sealed class XfsFileSystem : IFileSystem
{
    private readonly XfsVolume _volume;

    public XfsFileSystem(XfsVolume volume, IReadOnlyList<string> notes)
    {
        _volume = volume;
        XfsSuperblock super = volume.Super;
        Facts = new FileSystemFacts("xfs", super.Label, super.UuidText, super.BlockBytes, super.SizeBytes, notes);
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        using var walk = new XfsWalk(_volume);
        walk.Collect();
        using var scan = new InodeScan(_volume, 0, _volume.Chunks.All.Count, report: false);
        var describe = new InodeReader(_volume, walk);
        while (scan.Next())
        {
            if (describe.Read(scan.Bytes, scan.Number, scan.Offset) is { } file)
            {
                yield return file;
            }
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not XfsFile xfs)
        {
            throw new ArgumentException("not a file of this file system", nameof(file));
        }

        if (xfs.Fault is { } fault)
        {
            throw fault;
        }

        return xfs.Content switch
        {
            XfsContent.Extents => Mapped(ForkMap.OfList(_volume, xfs.Map, xfs.Id, xfs.SizeBytes)),
            XfsContent.Tree => Mapped(ForkMap.OfTree(_volume, xfs.Map, xfs.Id, xfs.SizeBytes)),
            XfsContent.Inode => new SliceSource(_volume.Source, xfs.FirstByte, xfs.SizeBytes),
            XfsContent.RemoteLink => new MemorySource(RemoteLink.Read(_volume, xfs.Map, xfs.Id, (int)xfs.SizeBytes)),
            _ => new MemorySource(ReadOnlyMemory<byte>.Empty),
        };
    }

    public void Dispose() => _volume.Dispose();

    private MappedSource Mapped(ForkMap map) => new(map, [_volume.Source], owned: map);
}
