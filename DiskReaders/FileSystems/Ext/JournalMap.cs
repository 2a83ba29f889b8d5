using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// The volume as a replay of its journal would leave it: blocks that a committed transaction holds are read where they lie in the journal.
/// Nothing is copied, so each byte still says where it is stored.
/// </summary>
internal sealed class JournalMap : IExtentMap
{
    public const int VolumeSource = 0;
    public const int MagicSource = 1;
    public const int ChangedSource = 2;
    private const int EscapedBytes = 4;

    private readonly long _length;
    private readonly int _shift;
    private readonly long[] _blocks;
    private readonly JournalBlock[] _places;

    /// <param name="length">Length of the volume.</param>
    /// <param name="shift">Binary logarithm of the block size.</param>
    /// <param name="replayed">By number of the volume's block.</param>
    public JournalMap(long length, int shift, IReadOnlyDictionary<long, JournalBlock> replayed)
    {
        _length = length;
        _shift = shift;
        _blocks = [.. replayed.Keys];
        _places = [.. replayed.Values];
        Array.Sort(_blocks, _places);
    }

    public long Length => _length;

    public Extent Map(long offset, long count)
    {
        long block = offset >> _shift;
        int index = Array.BinarySearch(_blocks, block);
        if (index < 0)
        {
            index = ~index;
            long length = index < _blocks.Length ? Math.Min(count, (_blocks[index] << _shift) - offset) : count;
            return new Extent(ExtentKind.Data, length, offset, VolumeSource);
        }

        long within = offset - (block << _shift);
        long rest = Math.Min(count, (1L << _shift) - within);
        JournalBlock place = _places[index];
        return place.Escaped && within < EscapedBytes
            ? new Extent(ExtentKind.Data, Math.Min(rest, EscapedBytes - within), within, MagicSource)
            : new Extent(ExtentKind.Data, rest, place.Offset + within, place.Source);
    }
}

/// <summary>Where a replayed block lies.</summary>
/// <param name="Offset">Byte offset on the volume of its copy in the journal.</param>
/// <param name="Escaped">Its first four bytes are the journal's magic number, stored as zeros ("Data Block").</param>
/// <param name="Source">Which of the map's sources the offset is of.</param>
internal readonly record struct JournalBlock(long Offset, bool Escaped, int Source = JournalMap.VolumeSource);
