using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>
/// An opened FAT volume. Folders are read whole, run by run; a file's chain is followed when its content is opened. Folders that
/// lead back to themselves, or share clusters with others, are entered once.
/// </summary>
internal sealed class FatFileSystem : IFileSystem
{
    private const string FolderStructure = "FAT folder";

    /// <summary>Read at once of a folder.</summary>
    private const int ChunkBytes = 256 << 10;

    /// <summary>The specification and Linux stop at 2 MiB (65,536 entries); more is read, not without end.</summary>
    private const long MostFolderBytes = 64 << 20;

    /// <summary>Folders in folders. A path of the 32,767 characters that Windows can make is seldom deeper.</summary>
    private const int MostDepth = 4096;

    /// <summary>Folders known and not yet read.</summary>
    private const int MostPending = 2_000_000;

    /// <summary>How far into the root folder the label is looked for.</summary>
    private const int LabelBytes = 64 << 10;

    private readonly IBlockSource _volume;
    private readonly FatBootSector _boot;
    private readonly ReadContext _context;
    private readonly FatTable _fat;
    private readonly IBlockSource[] _sources;

    public FatFileSystem(IBlockSource volume, FatBootSector boot, ReadContext context)
    {
        _volume = volume;
        _boot = boot;
        _context = context;
        _sources = [volume];
        _fat = new FatTable(volume, boot, context);
        try
        {
            Facts = new FileSystemFacts(
                "fat" + boot.EntryBits.ToString(CultureInfo.InvariantCulture),
                Label(),
                Serial(boot.VolID),
                boot.ClusterBytes,
                boot.TotSec * boot.BytsPerSec,
                _fat.WasInUse ? ["not unmounted: the last changes may be missing"] : []);
            ReportMissingEnd();
        }
        catch
        {
            _fat.Dispose();
            throw;
        }
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        var root = new GuestFolder(null, []);
        yield return BootSectors(root);
        using RentedBuffer seen = _context.Budget.Rent((int)((_boot.LastCluster / 8) + 1));
        seen.Span.Clear();
        using RentedBuffer buffer = _context.Budget.Rent(Math.Max(ChunkBytes, _boot.ClusterBytes));
        var pending = new Stack<PendingFolder>();
        List<FatFile> found = [];
        pending.Push(new PendingFolder(root, _boot.RootClus, 0));
        while (pending.TryPop(out PendingFolder folder))
        {
            var reader = new FatFolderReader(_boot, folder.Folder);
            foreach ((long offset, int length) in Pieces(folder, buffer.Length, seen))
            {
                _context.ThrowIfCancelled();
                found.Clear();
                TakePiece(folder, reader, offset, buffer.Span[..length], found);
                foreach (FatFile file in found)
                {
                    yield return file;
                    if (file.Kind == GuestFileKind.Folder)
                    {
                        Push(file, folder, seen, pending);
                    }
                }
            }
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not FatFile fatFile)
        {
            return file.Kind == GuestFileKind.System ? new SliceSource(_volume, 0, file.SizeBytes, FatBootSector.Structure) : throw new ArgumentException("not a file of this volume", nameof(file));
        }

        if (fatFile.SizeBytes == 0)
        {
            return new MemorySource(ReadOnlyMemory<byte>.Empty);
        }

        var chain = new ClusterChain(_fat, _boot.Heap, _volume.Length, fatFile.FirstCluster, fatFile.SizeBytes, _context);
        return chain.IsContiguous
            ? new SliceSource(_volume, chain.FirstByte, chain.Length, "FAT file")
            : new MappedSource(chain, _sources, owned: chain);
    }

    public void Dispose() => _fat.Dispose();

    private static string Serial(uint id) => $"{id >> 16:X4}-{id & 0xFFFF:X4}";

    private static string PathOf(GuestFolder folder) =>
        folder.Parent is null ? "" : GuestName.Escape(new GuestLink(folder.Parent, folder.Name).Path(), controls: false);

    private static bool Mark(RentedBuffer seen, uint cluster)
    {
        ref byte bits = ref seen.Span[(int)(cluster / 8)];
        byte bit = (byte)(1 << (int)(cluster % 8));
        bool isNew = (bits & bit) == 0;
        bits |= bit;
        return isNew;
    }

    // The reserved sectors: boot code, FSInfo, the backup of both.
    private GuestFile BootSectors(GuestFolder root) => new()
    {
        Kind = GuestFileKind.System,
        Id = 0,
        SizeBytes = Math.Min(_boot.FatOffset(0), _volume.Length),
        FirstByte = 0,
        Links = [new GuestLink(root, "$Boot"u8.ToArray())],
    };

    private void ReportMissingEnd()
    {
        if (Facts.SizeBytes > _volume.Length)
        {
            _context.Gaps.Add(new CoverageGap(
                Fault.Truncated, "", FatBootSector.Structure, 32, Facts.SizeBytes - _volume.Length, $"the file system has {Facts.SizeBytes} bytes, the volume {_volume.Length}"));
        }
    }

    private void TakePiece(PendingFolder folder, FatFolderReader reader, long offset, Span<byte> bytes, List<FatFile> found)
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
    }

    private void Push(FatFile file, PendingFolder parent, RentedBuffer seen, Stack<PendingFolder> pending)
    {
        var folder = new GuestFolder(parent.Folder, file.Links[0].Name);
        uint cluster = file.FirstCluster;
        DiskFormatException? fault =
            !_boot.IsCluster(cluster) ? new DiskFormatException(Fault.Corrupt, FolderStructure, (long)file.Id * FatFolderReader.EntrySize, $"the folder begins at the impossible cluster {cluster}")
            : parent.Depth >= MostDepth ? new DiskFormatException(Fault.Limit, FolderStructure, file.FirstByte, $"more than {MostDepth} folders in each other")
            : pending.Count >= MostPending ? new DiskFormatException(Fault.Limit, FolderStructure, file.FirstByte, $"more than {MostPending} folders to read")
            : !Mark(seen, cluster) ? new DiskFormatException(Fault.Corrupt, FolderStructure, file.FirstByte, "the folder's first cluster already belongs to another folder, or to one above it")
            : null;
        if (fault is not null)
        {
            _context.Gaps.Add(new CoverageGap(fault, PathOf(folder), 0));
            return;
        }

        pending.Push(new PendingFolder(folder, cluster, parent.Depth + 1));
    }

    // Where a folder's bytes lie, neighbouring clusters together. The first cluster was marked when the folder was found.
    private IEnumerable<(long Offset, int Length)> Pieces(PendingFolder folder, int most, RentedBuffer seen)
    {
        if (folder.Depth == 0 && _boot.EntryBits != 32)
        {
            for (int at = 0; at < _boot.RootBytes; at += most)
            {
                yield return (_boot.RootOffset + at, Math.Min(most, _boot.RootBytes - at));
            }

            yield break;
        }

        uint first = folder.Cluster;
        if (folder.Depth == 0 && (!_boot.IsCluster(first) || !Mark(seen, first)))
        {
            throw new DiskFormatException(Fault.Corrupt, FatBootSector.Structure, 44, $"BPB_RootClus is the impossible cluster {first}");
        }

        long total = 0;
        while (first != IClusterTable.End)
        {
            uint last = first;
            int length = _boot.ClusterBytes;
            uint next = Step(folder, last, seen);
            while (next == last + 1 && length + _boot.ClusterBytes <= most)
            {
                last = next;
                length += _boot.ClusterBytes;
                next = Step(folder, last, seen);
            }

            yield return (_boot.ClusterOffset(first), length);
            total += length;
            if (next != IClusterTable.End && total > MostFolderBytes)
            {
                _context.Gaps.Add(new CoverageGap(Fault.Limit, PathOf(folder.Folder), FolderStructure, _boot.ClusterOffset(next), 0, $"the folder is larger than {MostFolderBytes} bytes"));
                yield break;
            }

            first = next;
        }
    }

    // The next cluster of a folder, or the end: proper, or with a gap.
    private uint Step(PendingFolder folder, uint cluster, RentedBuffer seen)
    {
        uint next = _fat.Next(cluster);
        if (next == IClusterTable.End)
        {
            return next;
        }

        if (next == IClusterTable.Broken || !Mark(seen, next))
        {
            string detail = next == IClusterTable.Broken ? "the folder's chain runs into an entry that is no cluster" : "the folder's chain comes back to a cluster that was read as a folder before";
            _context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(folder.Folder), FolderStructure, _boot.ClusterOffset(cluster), 0, detail));
            return IClusterTable.End;
        }

        return next;
    }

    // The entry with ATTR_VOLUME_ID in the root folder; BS_VolLab, which few systems keep up to date, where there is none.
    private string Label()
    {
        bool isFixed = _boot.EntryBits != 32;
        if (!isFixed && !_boot.IsCluster(_boot.RootClus))
        {
            return _boot.VolLab;
        }

        long offset = isFixed ? _boot.RootOffset : _boot.ClusterOffset(_boot.RootClus);
        int length = (int)Math.Min(Math.Min(isFixed ? _boot.RootBytes : _boot.ClusterBytes, LabelBytes), Math.Max(0, _volume.Length - offset));
        using RentedBuffer start = _context.Budget.Rent(length);
        _volume.Read(Math.Min(offset, _volume.Length), start.Span);
        var reader = new FatFolderReader(_boot, new GuestFolder(null, []));
        reader.Take(start.Span, offset, []);
        return reader.Label ?? _boot.VolLab;
    }

    private readonly record struct PendingFolder(GuestFolder Folder, uint Cluster, int Depth);
}
