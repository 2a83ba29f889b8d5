using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

/// <summary>All chunks by logical address. Filled while opening; safe for many threads afterwards.</summary>
internal sealed class ChunkMap
{
    private readonly List<Chunk> _chunks = [];
    private volatile Chunk? _last;

    public IReadOnlyList<Chunk> All => _chunks;

    /// <summary>One past the last address that is mapped.</summary>
    public long End => _chunks.Count == 0 ? 0 : _chunks[^1].End;

    /// <summary>Adds a chunk; one that is there already is replaced.</summary>
    /// <returns>False when it overlaps another.</returns>
    public bool Add(Chunk chunk)
    {
        int at = IndexBefore(chunk.Logical);
        if (at >= 0 && _chunks[at].Logical == chunk.Logical)
        {
            if (at + 1 < _chunks.Count && chunk.End > _chunks[at + 1].Logical)
            {
                return false;
            }

            _chunks[at] = chunk;
            return true;
        }

        if ((at >= 0 && _chunks[at].End > chunk.Logical) || (at + 1 < _chunks.Count && chunk.End > _chunks[at + 1].Logical))
        {
            return false;
        }

        _chunks.Insert(at + 1, chunk);
        return true;
    }

    /// <exception cref="DiskFormatException">No chunk maps the address.</exception>
    public Chunk At(long logical)
    {
        Chunk? last = _last;
        if (last is not null && logical >= last.Logical && logical < last.End)
        {
            return last;
        }

        int at = IndexBefore(logical);
        if (at < 0 || logical >= _chunks[at].End)
        {
            throw new DiskFormatException(Fault.Corrupt, "btrfs_chunk", -1, $"no chunk holds logical address {logical}");
        }

        return _last = _chunks[at];
    }

    private int IndexBefore(long logical)
    {
        int low = 0, high = _chunks.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_chunks[middle].Logical <= logical)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }
}

/// <summary>Logical addresses on devices, by one of the copies: the first is the one most likely to be good.</summary>
internal sealed class CopyMap(ChunkMap chunks, IReadOnlyList<Device> devices, int copy) : IExtentMap
{
    public long Length => BtrfsSuperblock.MostAddress * 2;

    public Extent Map(long offset, long count)
    {
        Chunk chunk = chunks.At(offset);
        StripePlace place = chunk.Place(offset);
        Stripe stripe = StripeOf(chunk, place);
        return new Extent(ExtentKind.Data, Math.Min(place.Length, count), stripe.Offset + place.Offset, stripe.Device);
    }

    private Stripe StripeOf(Chunk chunk, StripePlace place)
    {
        switch (chunk.Profile)
        {
            case Profile.Raid0:
                return chunk.Stripes[place.Column];
            case Profile.Raid5 or Profile.Raid6:
                return chunk.Column(place.Row, place.Column);
            case Profile.Raid10:
                return Ranked(chunk.Stripes.AsSpan(place.Column * chunk.SubStripes, chunk.SubStripes));
            default:
                return Ranked(chunk.Stripes);
        }
    }

    private Stripe Ranked(ReadOnlySpan<Stripe> copies)
    {
        int left = Math.Min(copy, copies.Length - 1);
        for (int rank = Device.Current; rank <= Device.Missing; rank++)
        {
            foreach (Stripe stripe in copies)
            {
                if (devices[stripe.Device].Rank == rank && left-- == 0)
                {
                    return stripe;
                }
            }
        }

        return copies[^1];
    }
}
