using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

/// <summary>The logical addresses of a file system as its devices hold them, each way there is. Checks nothing: who reads knows what to expect.</summary>
internal sealed class LogicalSpace
{
    private const int MostCopies = 4;

    private readonly MappedSource[] _copies = new MappedSource[MostCopies];
    private readonly DeviceSet _devices;
    private readonly CopyMap _firstCopy;
    private readonly ReadContext _context;

    /// <param name="chunks">More may be added, by one thread, before others read.</param>
    /// <param name="devices">Likewise.</param>
    public LogicalSpace(ChunkMap chunks, DeviceSet devices, ReadContext context)
    {
        Chunks = chunks;
        _devices = devices;
        _context = context;
        _firstCopy = new CopyMap(chunks, devices.All, 0);
        for (int i = 0; i < _copies.Length; i++)
        {
            _copies[i] = new MappedSource(new CopyMap(chunks, devices.All, i), devices.Sources);
        }
    }

    public ChunkMap Chunks { get; }

    /// <summary>The addresses by their first copies.</summary>
    public MappedSource First => _copies[0];

    /// <summary>Where an address lies on the device of its first copy.</summary>
    public long PhysicalOf(long logical) => _firstCopy.Map(logical, 1).Location;

    /// <summary>How many ways there are to read at an address.</summary>
    public int Attempts(long logical) => Chunks.At(logical).Attempts;

    /// <summary>Bytes from an address that are read, or not, as one: to the end of the stripe or chunk.</summary>
    public long PieceBytes(long logical) => Chunks.At(logical).Place(logical).Length;

    /// <summary>Reads one way. What lies in several stripes is read this way from each.</summary>
    public void Read(long logical, Span<byte> destination, int attempt)
    {
        while (!destination.IsEmpty)
        {
            Chunk chunk = Chunks.At(logical);
            int count = (int)Math.Min(destination.Length, chunk.End - logical);
            if (!chunk.HasParity || attempt == 0)
            {
                _copies[Math.Min(attempt, chunk.Copies - 1)].Read(logical, destination[..count]);
            }
            else
            {
                StripePlace place = chunk.Place(logical);
                count = (int)Math.Min(count, place.Length);
                Rebuild(chunk, place, destination[..count], attempt);
            }

            logical += count;
            destination = destination[count..];
        }
    }

    // Attempt 1 rebuilds from P as if the stripe alone were bad; of RAID 6, 2 from Q as if P were bad too, and each further one as if
    // another data stripe were.
    private void Rebuild(Chunk chunk, StripePlace place, Span<byte> destination, int attempt)
    {
        int wanted = place.Column;
        int p = chunk.DataStripes;
        int other = -1;
        if (chunk.Profile == Profile.Raid6 && attempt >= 3)
        {
            other = attempt - 3;
            other += other >= wanted ? 1 : 0;
        }

        using RentedBuffer buffer = _context.Budget.Rent(destination.Length * 2);
        Span<byte> part = buffer.Span[..destination.Length];
        Span<byte> q = buffer.Span[destination.Length..];
        bool usesP = attempt != 2;
        bool usesQ = attempt >= 2;
        if (usesP)
        {
            ReadColumn(chunk, place, p, destination);
        }

        if (usesQ)
        {
            ReadColumn(chunk, place, p + 1, q);
        }

        for (int column = 0; column < chunk.DataStripes; column++)
        {
            if (column == wanted || column == other)
            {
                continue;
            }

            ReadColumn(chunk, place, column, part);
            if (usesP)
            {
                Parity.Xor(destination, part);
            }

            if (usesQ)
            {
                Parity.AddMultiple(q, part, Parity.Power(column));
            }
        }

        if (!usesP)
        {
            Parity.Scale(q, Parity.Inverse(Parity.Power(wanted)), destination);
        }
        else if (usesQ)
        {
            Parity.SolveTwo(destination, q, wanted, other);
        }
    }

    private void ReadColumn(Chunk chunk, StripePlace place, int column, Span<byte> destination)
    {
        Stripe stripe = chunk.Column(place.Row, column);
        _devices.Sources[stripe.Device].Read(stripe.Offset + place.Offset, destination);
    }
}
