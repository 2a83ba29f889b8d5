using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// Content that lies in the inode: up to 60 bytes in <c>i_block</c>, the rest in the attribute <c>system.data</c>. Specification: "ext4 Data
/// Structures and Algorithms", "Inline Data", "Symbolic Links".
/// </summary>
internal sealed class InlineMap : IExtentMap
{
    private readonly long _first;
    private readonly long _rest;

    private InlineMap(long first, long rest, long length)
    {
        _first = first;
        _rest = rest;
        Length = length;
    }

    public long Length { get; }

    /// <exception cref="DiskFormatException">The inode has less content than its size says.</exception>
    public static InlineMap Open(ExtVolume volume, uint number, long length)
    {
        long offset = volume.InodeOffset(number);
        long rest = -1;
        if (length > ExtInode.BlockFieldBytes)
        {
            var inode = new ExtInode(volume.ReadInode(number));
            if (!inode.FindInlineValue(offset, out int value, out int valueBytes) || valueBytes < length - ExtInode.BlockFieldBytes)
            {
                throw new DiskFormatException(Fault.Truncated, "system.data", offset, $"inline data is shorter than the file's {length} bytes");
            }

            rest = offset + value;
        }

        return new InlineMap(offset + ExtInode.BlockFieldOffset, rest, length);
    }

    public Extent Map(long offset, long count) => offset < ExtInode.BlockFieldBytes
        ? new Extent(ExtentKind.Data, Math.Min(count, ExtInode.BlockFieldBytes - offset), _first + offset)
        : new Extent(ExtentKind.Data, count, _rest + offset - ExtInode.BlockFieldBytes);
}
