using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Xva;

/// <summary>Where the chunks of a disk lie: 12 bytes each, so that 2 TiB without a hole take 24 MiB. Filled in ascending order.</summary>
internal sealed class ChunkTable(ReadContext context) : IDisposable
{
    private const int EntryBytes = 12;
    private const int EntriesPerPage = 16_384;

    private readonly List<RentedBuffer> _pages = [];

    public int Count { get; private set; }

    public void Add(uint number, long location)
    {
        if (Count == _pages.Count * EntriesPerPage)
        {
            _pages.Add(context.Budget.Rent(EntriesPerPage * EntryBytes));
        }

        Span<byte> entry = Entry(Count);
        BinaryPrimitives.WriteUInt32LittleEndian(entry, number);
        BinaryPrimitives.WriteInt64LittleEndian(entry[4..], location);
        Count++;
    }

    public uint Number(int index) => BinaryPrimitives.ReadUInt32LittleEndian(Entry(index));

    public long Location(int index) => BinaryPrimitives.ReadInt64LittleEndian(Entry(index)[4..]);

    /// <summary>The first chunk whose number is at least <paramref name="number"/>; <see cref="Count"/> when there is none.</summary>
    public int Find(long number)
    {
        int low = 0;
        int high = Count;
        while (low < high)
        {
            int middle = low + ((high - low) / 2);
            if (Number(middle) < number)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    public void Dispose()
    {
        _pages.ForEach(p => p.Dispose());
        _pages.Clear();
        Count = 0;
    }

    private Span<byte> Entry(int index) => _pages[index / EntriesPerPage].Span.Slice(index % EntriesPerPage * EntryBytes, EntryBytes);
}
