using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>Content in consecutive blocks; with tail packing what is left of the last block lies behind the inode.</summary>
internal sealed class FlatMap : IExtentMap
{
    private readonly long _start;
    private readonly long _flatBytes;
    private readonly long _tail;

    /// <exception cref="DiskFormatException">The content does not lie on the volume.</exception>
    public FlatMap(ErofsVolume volume, ErofsInode inode)
    {
        ErofsSuperblock super = volume.Super;
        Length = inode.SizeBytes;
        _start = (long)inode.Union << super.BlockShift;
        _flatBytes = inode.Layout == ErofsLayout.FlatInline ? Length - 1 >> super.BlockShift << super.BlockShift : Length;
        _tail = inode.End;
        if (_flatBytes > 0)
        {
            volume.Devices.RequirePrimary(0, inode.Union);
            Bounds.Check(_start, _flatBytes, volume.Source.Length, "erofs flat data");
        }

        if (_flatBytes < Length)
        {
            // "tail-packing inline data" never crosses a block.
            long tailBytes = Length - _flatBytes;
            if ((_tail & (super.BlockBytes - 1)) + tailBytes > super.BlockBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, "erofs inode", inode.Position, $"inline data of {tailBytes} bytes crosses a block");
            }

            Bounds.Check(_tail, tailBytes, volume.Source.Length, "erofs inline data");
        }
    }

    public long Length { get; }

    public Extent Map(long offset, long count) => offset < _flatBytes
        ? new Extent(ExtentKind.Data, Math.Min(count, _flatBytes - offset), _start + offset)
        : new Extent(ExtentKind.Data, Math.Min(count, Length - offset), _tail + offset - _flatBytes);
}
