using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Content;

/// <summary>The content of a file: its map over data, inline data and compressed extents.</summary>
internal static class BtrfsContent
{
    public static IBlockSource Open(BtrfsVolume volume, BtrfsFile file)
    {
        var map = new FileMap(volume, file);
        IBlockSource data = file.HasSums ? volume.Data : volume.Plain;
        var packed = new PackedSource(volume, map, data);
        var inline = new MemorySource(map.Inline);
        return new MappedSource(map, [data, inline, packed], owned: new Owned(map, packed));
    }

    private sealed class Owned(FileMap map, PackedSource packed) : IDisposable
    {
        public void Dispose()
        {
            packed.Dispose();
            map.Dispose();
        }
    }
}
