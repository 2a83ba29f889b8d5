using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// The entries of a block of a folder. Specification: "ext4 Data Structures and Algorithms", "Linear (Classic) Directories" and "Hash Tree
/// Directories": the blocks of a hash tree's interior look like empty entries, so all blocks are read alike.
/// </summary>
internal ref struct DirectoryBlock
{
    private const int HeaderBytes = 8;
    private const int TailBytes = 12;
    private const byte TailFileType = 0xDE;
    private const int LargestRecord = 0x1_0000;

    private readonly LeView _view;
    private int _at;

    /// <param name="view">The block, or a part of an inode with inline entries.</param>
    public DirectoryBlock(LeView view)
    {
        _view = view;
    }

    public uint Inode { get; private set; }

    public ReadOnlySpan<byte> Name { get; private set; }

    /// <summary>
    /// True when the block ends in a checksum ("Directory Entries", <c>ext4_dir_entry_tail</c>) and it is wrong. The root and the nodes of a hash
    /// tree have theirs elsewhere, and may keep an old one here from when they were leaves: their last entry goes to the block's end.
    /// </summary>
    public static bool HasBadChecksum(ReadOnlySpan<byte> block, uint nodeSeed)
    {
        const int DotBytes = 12;
        var whole = new LeView(block, "ext4_dir_entry", 0);
        int first = whole.U16(4);
        bool node = whole.U32(0) == 0 && (first == block.Length || (block.Length == LargestRecord && first is 0 or 0xFFFF));
        if (node || (first == DotBytes && whole.U16(DotBytes + 4) == block.Length - DotBytes))
        {
            return false;
        }

        var v = new LeView(block[^TailBytes..], "ext4_dir_entry_tail", 0);
        return v.U32(0) == 0 && v.U16(4) == TailBytes && v.U8(6) == 0 && v.U8(7) == TailFileType && Crc32C.Update(nodeSeed, block[..^TailBytes]) != v.U32(8);
    }

    /// <summary>Goes to the next entry in use.</summary>
    /// <exception cref="DiskFormatException">An entry's length is impossible; what follows it in the block cannot be found.</exception>
    public bool Next()
    {
        while (_at + HeaderBytes <= _view.Length)
        {
            int at = _at;
            int length = _view.U16(at + 4);
            // A record over a whole block of 64 KiB does not fit its field.
            if (_view.Length == LargestRecord && length is 0 or 0xFFFF)
            {
                length = LargestRecord;
            }

            int nameBytes = _view.U8(at + 6);
            uint inode = _view.U32(at);
            _view.Require(length >= HeaderBytes && length % 4 == 0 && length <= _view.Length - at, at + 4, "rec_len");
            _view.Require(inode == 0 || HeaderBytes + nameBytes <= length, at + 6, "name_len");
            _at = at + length;
            if (inode != 0 && nameBytes != 0)
            {
                Inode = inode;
                Name = _view.Field(at + HeaderBytes, nameBytes);
                return true;
            }
        }

        return false;
    }
}
