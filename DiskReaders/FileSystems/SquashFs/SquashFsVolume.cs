using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>Where the last bytes of a file lie: in a block shared with other files.</summary>
/// <param name="Start">Where the block is stored.</param>
/// <param name="StoredBytes">Its stored size.</param>
internal readonly record struct FragmentEntry(long Start, int StoredBytes, bool IsPacked);

/// <summary>What all parts of the reader share: tables, decoder and fragments.</summary>
internal sealed class SquashFsVolume : IDisposable, IBlockLoader
{
    /// <summary>Of a block's stored size: it is not packed.</summary>
    public const uint UnpackedBit = 1 << 24;
    private const int FragmentEntryBytes = 16;
    private const int IdBytes = 4;
    private const int MostFragmentCacheBytes = 8 << 20;

    private readonly PageCache _metadata;
    private readonly LookupTable _fragments;
    private readonly UnpackedCache _fragmentBlocks;
    private readonly uint[] _ids;

    public SquashFsVolume(SquashFsSuperblock super, IBlockSource source, ReadContext context)
    {
        Super = super;
        Source = source;
        Context = context;
        Unpacker = new BlockUnpacker(super.Compressor);
        _metadata = new PageCache(source, context, pageBytes: 256 << 10, pages: 16);
        _fragments = new LookupTable(_metadata, super.FragmentTable, super.FragmentCount, FragmentEntryBytes, "squashfs fragment table", Unpacker, context);
        _fragmentBlocks = new UnpackedCache(context.Budget, super.BlockBytes, Math.Max(8, MostFragmentCacheBytes / super.BlockBytes), this);
        _ids = [];
        try
        {
            Inodes = new MetadataTable(_metadata, super.InodeTable, super.DirectoryTable, "squashfs inode table", Unpacker, context);
            Directories = new MetadataTable(_metadata, super.DirectoryTable, DirectoryEnd(), "squashfs directory table", Unpacker, context);
            _ids = ReadIds();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public SquashFsSuperblock Super { get; }

    public IBlockSource Source { get; }

    public ReadContext Context { get; }

    public BlockUnpacker Unpacker { get; }

    public MetadataTable Inodes { get; } = null!;

    public MetadataTable Directories { get; } = null!;

    public uint? UidOf(ushort index) => index < _ids.Length ? _ids[index] : null;

    /// <exception cref="DiskFormatException">There is no such fragment.</exception>
    public FragmentEntry Fragment(uint index)
    {
        Span<byte> bytes = stackalloc byte[FragmentEntryBytes];
        _fragments.Read(index, bytes);
        var v = new LeView(bytes, "squashfs fragment", Super.FragmentTable);
        uint size = v.U32(8);
        int stored = (int)(size & (UnpackedBit - 1));
        v.Require((size & ~((UnpackedBit << 1) - 1)) == 0 && stored > 0 && stored <= Super.BlockBytes, 8, "size");
        long start = v.NonNegative64(0, "start");
        v.Require(start <= Super.BytesUsed - stored, 0, "start");
        return new FragmentEntry(start, stored, (size & UnpackedBit) == 0);
    }

    /// <summary>Reads from an unpacked fragment.</summary>
    /// <exception cref="DiskFormatException">The fragment ends before.</exception>
    public void ReadFragment(uint index, uint offset, Span<byte> destination)
    {
        int within = (int)Math.Min(offset, (uint)Super.BlockBytes);
        if (_fragmentBlocks.Read(index, within, destination) != destination.Length)
        {
            throw new DiskFormatException(Fault.Truncated, "squashfs fragment", -1, $"fragment {index} ends before the {destination.Length} bytes at {offset}");
        }
    }

    public int Load(long key, Span<byte> block)
    {
        FragmentEntry fragment = Fragment((uint)key);
        using RentedBuffer packed = Context.Budget.Rent(fragment.StoredBytes);
        Source.Read(fragment.Start, packed.Span);
        if (!fragment.IsPacked)
        {
            packed.Span.CopyTo(block);
            return fragment.StoredBytes;
        }

        return Unpacker.Unpack(packed.Memory, block, "squashfs fragment", fragment.Start);
    }

    public void Dispose()
    {
        Inodes?.Dispose();
        Directories?.Dispose();
        _fragments.Dispose();
        _fragmentBlocks.Dispose();
        _metadata.Dispose();
        Unpacker.Dispose();
    }

    // The table has no length of its own: it ends where the blocks of the next one begin.
    private long DirectoryEnd()
    {
        long end = Super.BytesUsed;
        Span<long> others =
        [
            Super.FragmentTable, LookupTable.FirstBlock(_metadata, Super.FragmentTable, Super.FragmentCount),
            Super.ExportTable, LookupTable.FirstBlock(_metadata, Super.ExportTable, Super.InodeCount),
            Super.IdTable, LookupTable.FirstBlock(_metadata, Super.IdTable, Super.IdCount), Super.XattrTable,
        ];
        foreach (long other in others)
        {
            end = other >= Super.DirectoryTable && other < end ? other : end;
        }

        return end;
    }

    private uint[] ReadIds()
    {
        using var table = new LookupTable(_metadata, Super.IdTable, Super.IdCount, IdBytes, "squashfs id table", Unpacker, Context);
        uint[] ids = new uint[Super.IdCount];
        Span<byte> id = stackalloc byte[IdBytes];
        try
        {
            for (int i = 0; i < ids.Length; i++)
            {
                table.Read(i, id);
                ids[i] = BinaryPrimitives.ReadUInt32LittleEndian(id);
            }
        }
        catch (DiskFormatException e)
        {
            Context.Gaps.Add(new CoverageGap(e, "", 0));
            return [];
        }

        return ids;
    }
}
