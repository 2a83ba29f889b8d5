using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

/// <summary><c>h_advise</c>.</summary>
[Flags]
internal enum MapAdvise : ushort
{
    Compacted2B = 0x1,
    BigPcluster1 = 0x2,
    BigPcluster2 = 0x4,
    InlinePcluster = 0x8,
    InterlacedPcluster = 0x10,
    FragmentPcluster = 0x20,
    Known = 0x3F,
}

/// <summary><c>struct z_erofs_map_header</c>, behind the inode and its attributes, aligned to 8. Specification: erofs_fs.h. Little-endian, 8 bytes.</summary>
internal readonly struct MapHeader
{
    public const int Size = 8;
    private const int FragmentInodeBit = 63;

    /// <summary>The whole file is a range of the packed inode.</summary>
    public readonly bool IsFragmentInode;

    /// <summary>Offset in the packed inode, of the whole file or of its end.</summary>
    public readonly long FragmentOffset;

    public readonly int InlineBytes;
    public readonly MapAdvise Advise;
    public readonly Algorithm Head1, Head2;

    public MapHeader(LeView v)
    {
        ulong all = v.U64(0);
        if (all >> FragmentInodeBit != 0)
        {
            IsFragmentInode = true;
            FragmentOffset = (long)(all & long.MaxValue);
            return;
        }

        FragmentOffset = v.U32(0);
        InlineBytes = v.U16(2);
        Advise = (MapAdvise)v.U16(4);
        if ((Advise & ~MapAdvise.Known) != 0)
        {
            throw v.Unsupported(4, $"h_advise 0x{(ushort)Advise:X}");
        }

        Head1 = (Algorithm)(v.U8(6) & 0xF);
        Head2 = (Algorithm)(v.U8(6) >> 4);
        if (v.U8(7) != 0)
        {
            throw v.Unsupported(7, $"h_clusterbits {v.U8(7)}");
        }
    }

    public bool IsBig => (Advise & (MapAdvise.BigPcluster1 | MapAdvise.BigPcluster2)) != 0;
}
