using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>
/// Checksums of data, one for each sector, from the checksum tree: items (<c>EXTENT_CSUM</c>, first logical address) hold those of
/// sectors that follow each other. Those of a log tree come first. Safe for many threads.
/// </summary>
internal sealed class DataSums(BtrfsVolume volume, TreeRoot? root) : IDisposable
{
    private const int MostCursors = 8;

    private readonly Lock _lock = new();
    private readonly Stack<Place> _idle = [];
    private readonly int _sumBytes = BtrfsChecksum.SizeOf(volume.Super.CsumType);
    private readonly int _sectorBytes = volume.Super.SectorBytes;
    private SortedList<long, byte[]>? _logged;
    private int _reported;

    public int SumBytes => _sumBytes;

    /// <summary>Puts sums of a log tree before those of the checksum tree.</summary>
    public void Overlay(SortedList<long, byte[]> logged) => _logged = logged.Count > 0 ? logged : null;

    /// <summary>Looks up the sums of sectors that follow each other.</summary>
    /// <param name="logical">Of the first sector, aligned.</param>
    /// <param name="known">One for each sector: whether there is a sum.</param>
    /// <param name="sums"><see cref="SumBytes"/> for each sector.</param>
    public void Read(long logical, Span<bool> known, Span<byte> sums)
    {
        known.Clear();
        if (root is not null)
        {
            Place place = TakeIdle() ?? new Place(volume.Open(root));
            try
            {
                Read(place, logical, known, sums);
            }
            catch (DiskFormatException e)
            {
                place.IsSet = false;
                Report(e);
            }
            finally
            {
                Return(place);
            }
        }

        if (_logged is { } logged)
        {
            ReadLogged(logged, logical, known, sums);
        }
    }

    /// <summary>Says, once, that data is read without a checksum to hold it against.</summary>
    public void ReportUnknown(long logical)
    {
        if (Interlocked.Exchange(ref _reported, 1) == 0)
        {
            volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "EXTENT_CSUM", -1, 0, $"no checksum of data at logical address {logical}; such data is read unchecked"));
        }
    }

    public void Dispose()
    {
        while (TakeIdle() is { } place)
        {
            place.Cursor.Dispose();
        }
    }

    private Place? TakeIdle()
    {
        lock (_lock)
        {
            return _idle.TryPop(out Place? place) ? place : null;
        }
    }

    private void Return(Place place)
    {
        lock (_lock)
        {
            if (_idle.Count < MostCursors)
            {
                _idle.Push(place);
                return;
            }
        }

        place.Cursor.Dispose();
    }

    private void Report(DiskFormatException e)
    {
        if (Interlocked.Exchange(ref _reported, 1) == 0)
        {
            volume.Context.Gaps.Add(new CoverageGap(e, "", 0) { Detail = $"{e.Detail}; data whose checksums are lost is read unchecked" });
        }
    }

    private void Read(Place place, long logical, Span<bool> known, Span<byte> sums)
    {
        var key = new BtrfsKey(ObjectId.ExtentCsum, ItemType.ExtentCsum, (ulong)logical);
        int index;
        if (place.IsSet && place.Cursor.Leaf.Key(0) <= key && key < place.Cursor.LeafBelow)
        {
            index = place.Cursor.Leaf.Floor(key);
        }
        else
        {
            place.IsSet = false;
            place.IsSet = place.Cursor.Seek(key, out index);
            if (!place.IsSet)
            {
                return;
            }
        }

        long end = logical + ((long)known.Length * _sectorBytes);
        index = Math.Max(0, index);
        while (true)
        {
            Node leaf = place.Cursor.Leaf;
            for (; index < leaf.Count; index++)
            {
                BtrfsKey at = leaf.Key(index);
                if (at.Id > ObjectId.ExtentCsum || (at.Id == ObjectId.ExtentCsum && (at.Type > ItemType.ExtentCsum || at.Offset >= (ulong)end)))
                {
                    return;
                }

                if (at.Id == ObjectId.ExtentCsum && at.Type == ItemType.ExtentCsum && at.Offset % (ulong)_sectorBytes == 0)
                {
                    Copy((long)at.Offset, leaf.Data(index), logical, known, sums);
                }
            }

            index = 0;
            if (!place.Cursor.NextLeaf())
            {
                place.IsSet = false;
                return;
            }
        }
    }

    private void ReadLogged(SortedList<long, byte[]> logged, long logical, Span<bool> known, Span<byte> sums)
    {
        long end = logical + ((long)known.Length * _sectorBytes);
        for (int i = 0; i < logged.Count && logged.Keys[i] < end; i++)
        {
            Copy(logged.Keys[i], logged.Values[i], logical, known, sums);
        }
    }

    private void Copy(long from, ReadOnlySpan<byte> item, long logical, Span<bool> known, Span<byte> sums)
    {
        // Both in sectors, counted from the first wanted one.
        long first = (from - logical) / _sectorBytes;
        int begin = (int)Math.Clamp(first, 0, known.Length);
        int end = (int)Math.Clamp(first + (item.Length / _sumBytes), begin, known.Length);
        if (begin < end)
        {
            item.Slice((int)(begin - first) * _sumBytes, (end - begin) * _sumBytes).CopyTo(sums[(begin * _sumBytes)..]);
            known[begin..end].Fill(true);
        }
    }

    private sealed class Place(TreeCursor cursor)
    {
        public TreeCursor Cursor { get; } = cursor;

        public bool IsSet { get; set; }
    }
}
