using System.Collections.Concurrent;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>What the head of an image says: its format and the files it names.</summary>
/// <param name="Format">By <see cref="IContainerFormat.Name"/>; empty where the head is faulty.</param>
/// <param name="References">The files it names; none where the part that holds the names is faulty, which a worker reports.</param>
public sealed record ImageHead(string Format, IReadOnlyList<ImageReference> References);

/// <summary>
/// Heads of images, each read once however many disks lie over the image: of ten thousand linked clones the base is read once. Safe for several threads.
/// </summary>
public sealed class ImageHeads
{
    /// <summary>So many names are kept; beyond them heads are read each time anew. A descriptor may name thousands of extents.</summary>
    private const int MostNames = 500_000;

    /// <summary>How many heads are read at once: storage in a network takes its time for each.</summary>
    private const int ReadAtOnce = 16;

    private readonly ConcurrentDictionary<(string Name, string? Format), ImageHead> _heads = [];
    private readonly ConcurrentDictionary<string, string> _formats = new(StringComparer.Ordinal);
    private int _names;

    /// <param name="planned">The image.</param>
    /// <param name="declared">The format that something declares; null to go by extension and bytes.</param>
    /// <exception cref="IOException">The image cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The image may not be read.</exception>
    public ImageHead Of(PlannedFile planned, string? declared)
    {
        // Pieces, members of archives and exports are each part of one disk only.
        if (planned is not { OffsetBytes: 0, LengthBytes: < 0, IsGzip: false, Export: null, More.Count: 0 })
        {
            return Read(planned, declared);
        }

        // What is declared and what the name says are the same to a reader.
        (string Name, string? Format) key = (planned.Name, declared ?? ContainerFormats.Declared(planned.Name));
        if (_heads.TryGetValue(key, out ImageHead? known))
        {
            return known;
        }

        ImageHead head = Read(planned, declared);
        if (Volatile.Read(ref _names) < MostNames && _heads.TryAdd(key, head))
        {
            Interlocked.Add(ref _names, 1 + head.References.Count);
        }

        _formats.TryAdd(planned.Name, head.Format);
        return head;
    }

    /// <summary>Reads the heads of many images at once, for those who ask for them next. What cannot be read is passed over; whoever asks learns why.</summary>
    /// <param name="paths">Host paths, which the appliance found itself.</param>
    /// <param name="cancellation">Ends it.</param>
    public void ReadAhead(IEnumerable<string> paths, CancellationToken cancellation) =>
        Parallel.ForEach(paths, new ParallelOptions { MaxDegreeOfParallelism = ReadAtOnce, CancellationToken = cancellation }, path =>
        {
            try
            {
                Of(new PlannedFile(0, path, path), null);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Gone meanwhile, or not to be read.
            }
        });

    /// <summary>The format of an image whose head was read; null for another.</summary>
    public string? FormatOf(string name) => _formats.GetValueOrDefault(name);

    /// <summary>Reads a head without keeping it.</summary>
    /// <exception cref="IOException">The image cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The image may not be read.</exception>
    public static ImageHead Read(PlannedFile planned, string? declared)
    {
        string format = "";
        try
        {
            using IBlockSource bytes = PlannedFiles.OpenHead(planned);
            var file = new ImageFile(planned.Name, planned.Id, bytes);
            IContainerFormat chosen = ContainerFormats.Choose(file, declared ?? ContainerFormats.Declared(planned.Name));
            format = chosen.Name;
            return new ImageHead(format, chosen.References(file));
        }
        catch (DiskFormatException)
        {
            // The worker meets the same fault when it opens the image, and reports it.
            return new ImageHead(format, []);
        }
    }
}
