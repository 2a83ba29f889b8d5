using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Parallels;

/// <summary>
/// Where an expanding image keeps its clusters: parallels "BAT". An entry of 0 is not here: the image's below, or zeros where there is none.
/// Clusters need not have a power of two of bytes.
/// </summary>
internal sealed class ParallelsMap : IExtentMap, IDisposable
{
    private const string Structure = "Parallels BAT";
    private const int Pages = 8;

    /// <summary>One answer covers at most so many clusters, so that it comes soon.</summary>
    private const int MostClusters = 8192;

    private readonly Lock _lock = new();
    private readonly IBlockSource _image;
    private readonly ParallelsHeader _header;
    private readonly MetadataPages _pages;

    public ParallelsMap(IBlockSource image, ParallelsHeader header, ScanBudget budget)
    {
        _image = image;
        _header = header;
        _pages = new MetadataPages(image, budget, Pages);
    }

    public long Length => _header.DiskBytes;

    public Extent Map(long offset, long count)
    {
        lock (_lock)
        {
            long first = Math.DivRem(offset, _header.ClusterBytes, out long within);
            long part = Math.Min(count, _header.ClusterBytes - within);
            uint entry = Entry(first);
            long location = entry == 0 ? 0 : Location(first, entry);
            long next = location;
            for (int i = 1; i < MostClusters && part < count; i++)
            {
                uint following = Entry(first + i);
                next += _header.ClusterBytes;
                if (entry == 0 ? following != 0 : following == 0 || following * _header.EntryUnitBytes != next)
                {
                    break;
                }

                part = Math.Min(count, part + _header.ClusterBytes);
            }

            return entry == 0 ? new Extent(ExtentKind.Hole, part) : InFile(first, location + within, part);
        }
    }

    /// <summary>True when no cluster is here.</summary>
    public bool IsEmpty()
    {
        lock (_lock)
        {
            for (long at = ParallelsHeader.Size, end = at + (_header.Entries * sizeof(uint)); at < end;)
            {
                ReadOnlySpan<byte> entries = _pages.From(at);
                entries = entries[..(int)Math.Min(entries.Length, end - at)];
                if (entries.ContainsAnyExcept((byte)0))
                {
                    return false;
                }

                at += entries.Length;
            }

            return true;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _pages.Dispose();
        }
    }

    private long Location(long cluster, uint entry)
    {
        long location = entry * _header.EntryUnitBytes;
        return location >= _header.DataBytes ? InFile(cluster, location, 1).Location : throw new DiskFormatException(
            Fault.Corrupt, Structure, EntryOffset(cluster), $"cluster {cluster} lies over the header or the table");
    }

    private Extent InFile(long cluster, long location, long count) => location < _image.Length
        ? new Extent(ExtentKind.Data, Math.Min(count, _image.Length - location), location)
        : throw new DiskFormatException(Fault.Truncated, Structure, EntryOffset(cluster), $"cluster {cluster} lies beyond the end of the file");

    private static long EntryOffset(long cluster) => ParallelsHeader.Size + (cluster * sizeof(uint));

    private uint Entry(long cluster) => BinaryPrimitives.ReadUInt32LittleEndian(_pages.From(EntryOffset(cluster)));
}
