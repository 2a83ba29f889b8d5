using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

/// <summary>
/// Reads the names of an inode one by one: <c>INODE_REF</c> (key: inode, folder; index, length and name, again and again) and
/// <c>INODE_EXTREF</c> (key: inode, hash; the folder stands in the item).
/// </summary>
internal ref struct NameItems(LeView view, BtrfsKey key)
{
    private const int RefHeaderBytes = 10;
    private const int ExtRefHeaderBytes = 18;

    private readonly LeView _view = view;
    private readonly BtrfsKey _key = key;
    private int _at;

    public ulong Folder { get; private set; }

    public ulong Index { get; private set; }

    public ReadOnlySpan<byte> Name { get; private set; }

    public bool Next()
    {
        if (_at >= _view.Length)
        {
            return false;
        }

        bool isExtended = _key.Type == ItemType.InodeExtRef;
        int header = isExtended ? ExtRefHeaderBytes : RefHeaderBytes;
        Folder = isExtended ? _view.U64(_at) : _key.Offset;
        Index = _view.U64(_at + (isExtended ? 8 : 0));
        int length = _view.U16(_at + header - 2);
        _view.Require(length > 0, _at + header - 2, "name_len");
        Name = _view.Field(_at + header, length);
        _at += header + length;
        return true;
    }
}

/// <summary><c>btrfs_dir_item</c>: 30 bytes and a name. What a name in a folder leads to.</summary>
internal readonly ref struct DirItem
{
    private const int HeaderBytes = 30;

    public DirItem(LeView v)
    {
        Location = BtrfsKey.Read(v.Field(0, BtrfsKey.Size));
        int length = v.U16(27);
        v.Require(length > 0, 27, "name_len");
        Name = v.Field(HeaderBytes, length);
        Bytes = HeaderBytes + length + v.U16(25);
    }

    /// <summary>With the name and its data: where the next one begins.</summary>
    public int Bytes { get; }

    public BtrfsKey Location { get; }

    public ReadOnlySpan<byte> Name { get; }
}

/// <summary>
/// A sum over all names that does not depend on their order: names kept with inodes and names kept in folders must give the same. Linux
/// shows those of the folders; the ones with the inodes are what is listed here.
/// </summary>
internal static class NameSum
{
    public static ulong Of(ulong folder, ulong index, ulong inode, ReadOnlySpan<byte> name)
    {
        unchecked
        {
            ulong sum = XxHash64.Of(name);
            sum = (sum ^ folder) * 0x9E37_79B1_85EB_CA87;
            sum = ((sum ^ (sum >> 31)) ^ index) * 0xC2B2_AE3D_27D4_EB4F;
            sum = ((sum ^ (sum >> 29)) ^ inode) * 0x1656_67B1_9E37_79F9;
            return sum ^ (sum >> 32);
        }
    }
}
