using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>
/// An opened exFAT volume. Folders are read whole, run by run; a file's chain is followed when its content is opened. Folders that
/// lead back to themselves, or share clusters with others, are entered once.
/// </summary>
internal sealed class ExFatFileSystem : IFileSystem
{
    private const string FolderStructure = "exFAT folder";

    /// <summary>Read at once of a folder.</summary>
    private const int ChunkBytes = 256 << 10;

    /// <summary>256 MiB (section 7.6.6 for folders: the size of 2^23 entries).</summary>
    private const long MostFolderBytes = 256 << 20;

    private const int MostDepth = 4096;

    /// <summary>Folders known and not yet read.</summary>
    private const int MostPending = 2_000_000;

    /// <summary>How far into the root folder the volume's own entries are looked for; they come first.</summary>
    private const int RootBytes = 64 << 10;

    /// <summary>65,536 characters and the same again for what is not compressed (7.2.5).</summary>
    private const int MostUpcaseBytes = 256 << 10;

    private readonly IBlockSource _volume;
    private readonly ExFatBootSector _boot;
    private readonly ReadContext _context;
    private readonly ClusterHeap _heap;
    private readonly ExFatTable _table;
    private readonly IBlockSource[] _sources;
    private readonly ExFatAllocation? _bitmap;

    public ExFatFileSystem(IBlockSource volume, ExFatBootSector boot, ReadContext context)
    {
        _volume = volume;
        _boot = boot;
        _context = context;
        _sources = [volume];
        _heap = new ClusterHeap(boot.HeapOffset, boot.ClusterBytes, boot.ClusterCount + 1, boot.ActiveFat);
        _table = new ExFatTable(volume, boot, _heap, context);
        try
        {
            ExFatFolderReader root = ReadRootStart();
            _bitmap = root.Bitmap;
            List<string> notes = [];
            if (boot.IsDirty)
            {
                notes.Add("not unmounted: the last changes may be missing");
            }

            if (boot.HadMediaFailure)
            {
                notes.Add("the medium failed before");
            }

            if (root.Upcase is { } upcase && !UpcaseIsSound(upcase, root.UpcaseChecksum))
            {
                notes.Add("the up-case table is damaged");
            }

            Facts = new FileSystemFacts(
                "exfat", root.Label ?? "", $"{boot.SerialNumber >> 16:X4}-{boot.SerialNumber & 0xFFFF:X4}", boot.ClusterBytes, boot.VolumeLength, notes);
            if (boot.VolumeLength > volume.Length)
            {
                context.Gaps.Add(new CoverageGap(
                    Fault.Truncated, "", ExFatBootSector.Structure, 72, boot.VolumeLength - volume.Length, $"the file system has {boot.VolumeLength} bytes, the volume {volume.Length}"));
            }
        }
        catch
        {
            _table.Dispose();
            throw;
        }
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        var root = new GuestFolder(null, []);
        yield return BootRegions(root);
        using RentedBuffer seen = _context.Budget.Rent(SeenBytes());
        seen.Span.Clear();
        using RentedBuffer buffer = _context.Budget.Rent(Math.Max(ChunkBytes, _boot.ClusterBytes));
        using var bitmap = new ExFatBitmap(_bitmap is { } b ? TryOpen(b) : null, _context);
        var pending = new Stack<PendingFolder>();
        List<ExFatFile> found = [];
        pending.Push(new PendingFolder(root, new ExFatAllocation(_boot.RootCluster, false, MostFolderBytes, MostFolderBytes), 0));
        while (pending.TryPop(out PendingFolder folder))
        {
            var reader = new ExFatFolderReader(_boot, _heap, folder.Folder);
            foreach ((long offset, int length) in Pieces(folder, buffer.Length, seen))
            {
                _context.ThrowIfCancelled();
                found.Clear();
                TakePiece(folder, reader, offset, buffer.Span[..length], found);
                foreach (ExFatFile file in found)
                {
                    bitmap.Look(file);
                    yield return file;
                    if (file.Kind == GuestFileKind.Folder && file.Fault is null)
                    {
                        Push(file, folder, pending);
                    }
                }

                if (reader.IsAtEnd)
                {
                    break;
                }
            }

            reader.BreakSet();
            Report(reader, folder.Folder);
        }

        bitmap.Report();
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not ExFatFile ours)
        {
            return file.Kind == GuestFileKind.System
                ? new SliceSource(_volume, 0, file.SizeBytes, ExFatBootSector.Structure)
                : throw new ArgumentException("not a file of this volume", nameof(file));
        }

        if (ours.Fault is not null)
        {
            throw ours.Fault;
        }

        return ours.SizeBytes == 0 ? MemorySource.Empty : Open(ours.Allocation);
    }

    public void Dispose() => _table.Dispose();

    private static string PathOf(GuestFolder folder) =>
        folder.Parent is null ? "" : GuestName.Escape(new GuestLink(folder.Parent, folder.Name).Path(), controls: false);

    private MappedSource Open(ExFatAllocation allocation)
    {
        var content = new ExFatContent(_table, _heap, _volume.Length, allocation, _context);
        return new MappedSource(content, _sources, owned: content);
    }

    private MappedSource? TryOpen(ExFatAllocation allocation)
    {
        try
        {
            return allocation.DataLength > 0 && _heap.IsCluster(allocation.FirstCluster) && allocation.DataLength <= ((long)_boot.ClusterCount / 8) + 1 ? Open(allocation) : null;
        }
        catch (DiskFormatException)
        {
            return null;
        }
    }

    // The main and the backup boot region, and what else lies before the table.
    private GuestFile BootRegions(GuestFolder root) => new()
    {
        Kind = GuestFileKind.System,
        Id = 0,
        SizeBytes = Math.Min(_boot.FatOffsetBytes, _volume.Length),
        FirstByte = 0,
        Links = [new GuestLink(root, "$Boot"u8.ToArray())],
    };

    // A bit for each cluster that the volume really has.
    private int SeenBytes()
    {
        long clusters = Math.Min(_boot.ClusterCount, (Math.Max(0, _volume.Length - _boot.HeapOffset) / _boot.ClusterBytes) + 1);
        return (int)((clusters + 2) / 8) + 1;
    }

    private bool Mark(RentedBuffer seen, uint cluster)
    {
        int at = (int)(cluster / 8);
        if (at >= seen.Length)
        {
            throw new DiskFormatException(Fault.Truncated, FolderStructure, _heap.ClusterOffset(cluster), $"the cluster lies beyond the volume's end at {_volume.Length}");
        }

        byte bit = (byte)(1 << (int)(cluster % 8));
        bool isNew = (seen.Span[at] & bit) == 0;
        seen.Span[at] |= bit;
        return isNew;
    }

    private ExFatFolderReader ReadRootStart()
    {
        if (!_heap.IsCluster(_boot.RootCluster))
        {
            throw new DiskFormatException(Fault.Corrupt, ExFatBootSector.Structure, 96, $"FirstClusterOfRootDirectory is the impossible cluster {_boot.RootCluster}");
        }

        var reader = new ExFatFolderReader(_boot, _heap, new GuestFolder(null, []));
        using RentedBuffer start = _context.Budget.Rent(Math.Min(RootBytes, _boot.ClusterBytes));
        _volume.Read(_heap.ClusterOffset(_boot.RootCluster), start.Span);
        reader.Take(start.Span, _heap.ClusterOffset(_boot.RootCluster), []);
        return reader;
    }

    // TableChecksum (7.2.2). Names are compared by no one here, so damage costs nothing but is told.
    private bool UpcaseIsSound(ExFatAllocation upcase, uint expected)
    {
        if (upcase.DataLength is 0 or > MostUpcaseBytes || !_heap.IsCluster(upcase.FirstCluster))
        {
            return false;
        }

        try
        {
            using RentedBuffer table = _context.Budget.Rent((int)upcase.DataLength);
            using MappedSource content = Open(upcase);
            content.Read(0, table.Span);
            uint sum = 0;
            foreach (byte b in table.Span)
            {
                sum = unchecked(((sum << 31) | (sum >> 1)) + b);
            }

            return sum == expected;
        }
        catch (DiskFormatException fault) when (fault.Fault != Fault.Limit)
        {
            return false;
        }
    }

    private void TakePiece(PendingFolder folder, ExFatFolderReader reader, long offset, Span<byte> bytes, List<ExFatFile> found)
    {
        try
        {
            _volume.Read(offset, bytes);
            reader.Take(bytes, offset, found);
        }
        catch (DiskFormatException fault)
        {
            reader.Interrupt();
            _context.Gaps.Add(new CoverageGap(fault, PathOf(folder.Folder), bytes.Length));
        }

        Report(reader, folder.Folder);
    }

    private void Report(ExFatFolderReader reader, GuestFolder folder)
    {
        foreach (DiskFormatException fault in reader.Faults)
        {
            _context.Gaps.Add(new CoverageGap(fault, PathOf(folder), 0));
        }

        reader.Faults.Clear();
    }

    private void Push(ExFatFile file, PendingFolder parent, Stack<PendingFolder> pending)
    {
        var folder = new GuestFolder(parent.Folder, file.Links[0].Name);
        if (file.Allocation.DataLength == 0)
        {
            return;
        }

        string? limit = parent.Depth >= MostDepth ? $"more than {MostDepth} folders in each other"
            : pending.Count >= MostPending ? $"more than {MostPending} folders to read"
            : null;
        if (limit is not null)
        {
            _context.Gaps.Add(new CoverageGap(Fault.Limit, PathOf(folder), FolderStructure, file.FirstByte, 0, limit));
            return;
        }

        pending.Push(new PendingFolder(folder, file.Allocation, parent.Depth + 1));
    }

    // Where a folder's bytes lie, neighbouring clusters together.
    private IEnumerable<(long Offset, int Length)> Pieces(PendingFolder folder, int most, RentedBuffer seen)
    {
        long left = Math.Min(folder.Allocation.DataLength, MostFolderBytes);
        uint first = folder.Allocation.FirstCluster;
        if (!TryEnter(folder, first, first, seen))
        {
            yield break;
        }

        while (first != IClusterTable.End)
        {
            uint last = first;
            int length = _boot.ClusterBytes;
            uint next = Step(folder, last, length < left, seen);
            while (next == last + 1 && length + _boot.ClusterBytes <= most)
            {
                last = next;
                length += _boot.ClusterBytes;
                next = Step(folder, last, length < left, seen);
            }

            // DataLength of a folder is whole clusters (7.6.7); one that is not ends early.
            yield return (_heap.ClusterOffset(first), (int)Math.Min(length, left));
            left -= Math.Min(length, left);
            first = next;
        }

        if (left == 0 && folder.Allocation.DataLength > MostFolderBytes)
        {
            _context.Gaps.Add(new CoverageGap(Fault.Limit, PathOf(folder.Folder), FolderStructure, -1, 0, $"the folder is larger than {MostFolderBytes} bytes"));
        }
    }

    // The next cluster of a folder, or the end: proper, or with a gap.
    private uint Step(PendingFolder folder, uint cluster, bool isWanted, RentedBuffer seen)
    {
        if (!isWanted)
        {
            return IClusterTable.End;
        }

        uint next;
        try
        {
            next = folder.Allocation.IsContiguous ? cluster + 1 : _table.Next(cluster);
        }
        catch (DiskFormatException fault)
        {
            _context.Gaps.Add(new CoverageGap(fault, PathOf(folder.Folder), 0));
            return IClusterTable.End;
        }

        // The root folder's length is that of its chain.
        if (next == IClusterTable.End && folder.Depth == 0)
        {
            return IClusterTable.End;
        }

        if (next is IClusterTable.End or IClusterTable.Broken)
        {
            _context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(folder.Folder), FolderStructure, _heap.ClusterOffset(cluster), 0, "the folder's chain ends before its length"));
            return IClusterTable.End;
        }

        return TryEnter(folder, next, cluster, seen) ? next : IClusterTable.End;
    }

    private bool TryEnter(PendingFolder folder, uint cluster, uint from, RentedBuffer seen)
    {
        DiskFormatException fault;
        try
        {
            if (Mark(seen, cluster))
            {
                return true;
            }

            fault = new DiskFormatException(Fault.Corrupt, FolderStructure, _heap.ClusterOffset(from), "the cluster was read as a folder before");
        }
        catch (DiskFormatException e)
        {
            fault = e;
        }

        _context.Gaps.Add(new CoverageGap(fault, PathOf(folder.Folder), 0));
        return false;
    }

    private readonly record struct PendingFolder(GuestFolder Folder, ExFatAllocation Allocation, int Depth);
}
