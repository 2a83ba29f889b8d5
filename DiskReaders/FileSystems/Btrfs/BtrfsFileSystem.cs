using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Space;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>
/// An opened Btrfs. Paths begin at the top-level subvolume, whichever a mount shows by default; other subvolumes and snapshots are
/// folders where they stand, and below <c>$OrphanFiles</c> when they stand nowhere.
/// </summary>
internal sealed class BtrfsFileSystem : IFileSystem
{
    private static readonly byte[] BootName = "$Boot"u8.ToArray();
    private static readonly byte[] OrphanName = "$OrphanFiles"u8.ToArray();

    private readonly BtrfsVolume _volume;
    private readonly IBlockSource _first;
    private readonly IReadOnlyList<string> _notes;

    public BtrfsFileSystem(BtrfsVolume volume, IBlockSource first, IReadOnlyList<string> notes)
    {
        _volume = volume;
        _first = first;
        _notes = notes;
    }

    public FileSystemFacts Facts
    {
        get
        {
            BtrfsSuperblock super = _volume.Super;
            List<string> notes =
            [
                string.Create(CultureInfo.InvariantCulture, $"nodes of {super.NodeBytes} bytes, checksum {BtrfsChecksum.NameOf(super.CsumType)}, data {ProfileOf(1)}, metadata {ProfileOf(4)}"),
                .. _notes,
            ];
            if (_volume.DeviceCount > 1)
            {
                notes.Add(string.Create(CultureInfo.InvariantCulture, $"{_volume.FoundDevices} of {_volume.DeviceCount} devices"));
            }

            if (_volume.Nodes.Mended + _volume.Data.Mended is var mended and > 0)
            {
                notes.Add(string.Create(CultureInfo.InvariantCulture, $"{mended} nodes and sectors were bad in one copy and read from another"));
            }

            return new FileSystemFacts("btrfs", super.Label, super.FsidText, super.SectorBytes, _volume.FirstVolumeBytes, notes);
        }
    }

    public IEnumerable<GuestFile> Walk()
    {
        var root = new GuestFolder(null, []);
        if (Boot(root) is { } boot)
        {
            yield return boot;
        }

        var waiting = new Queue<(Subvolume Subvolume, GuestFolder Place)>();
        HashSet<ulong> seen = [];
        if (_volume.Roots.ById.GetValueOrDefault(ObjectId.FsTree) is { } top)
        {
            seen.Add(top.Id);
            waiting.Enqueue((top, root));
        }

        ILookup<ulong, SubvolumePlace> places = _volume.Roots.Places.ToLookup(p => p.Parent);
        var orphans = new GuestFolder(root, OrphanName);
        using IEnumerator<Subvolume> rest = _volume.Roots.ById.Values.GetEnumerator();
        while (true)
        {
            _volume.Context.ThrowIfCancelled();
            if (waiting.Count == 0)
            {
                // What is left stands in no folder that was found.
                if (!rest.MoveNext())
                {
                    break;
                }

                if (seen.Add(rest.Current.Id))
                {
                    waiting.Enqueue((rest.Current, new GuestFolder(orphans, Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"#subvolume{rest.Current.Id}")))));
                }

                continue;
            }

            (Subvolume subvolume, GuestFolder place) = waiting.Dequeue();
            if (place.Parent is not null)
            {
                yield return new BtrfsFile
                {
                    Kind = GuestFileKind.Folder,
                    Id = subvolume.RootFolder,
                    SizeBytes = 0,
                    FirstByte = -1,
                    Links = [new GuestLink(place.Parent, place.Name)],
                    Subvolume = subvolume,
                    Topmost = new GuestSubvolume(subvolume.Id, subvolume.Id == _volume.Roots.Default),
                };
            }

            var walk = new SubvolumeWalk(_volume, subvolume, place);
            walk.FindFolders();
            foreach (SubvolumePlace child in places[subvolume.Id])
            {
                if (_volume.Roots.ById.GetValueOrDefault(child.Child) is { } inner && walk.Folders.PlaceOf(child.Folder) is { } folder && seen.Add(inner.Id))
                {
                    waiting.Enqueue((inner, new GuestFolder(folder, FolderTable.Clean(child.Name))));
                }
            }

            foreach (BtrfsFile file in walk.Files())
            {
                yield return file;
            }
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not BtrfsFile btrfs)
        {
            throw new ArgumentException("not a file of this file system", nameof(file));
        }

        if (btrfs.Fault is { } fault)
        {
            throw fault;
        }

        if (btrfs.Kind == GuestFileKind.System)
        {
            return new SliceSource(_first, 0, btrfs.SizeBytes);
        }

        return btrfs.SizeBytes == 0 ? new MemorySource(ReadOnlyMemory<byte>.Empty) : BtrfsContent.Open(_volume, btrfs);
    }

    public void Dispose() => _volume.Dispose();

    private string ProfileOf(ulong type)
    {
        string[] profiles = [.. _volume.Space.Chunks.All.Where(c => (c.Type & type) != 0).Select(NameOf).Distinct(StringComparer.Ordinal)];
        return profiles.Length == 0 ? "none" : string.Join(" and ", profiles);
    }

    private static string NameOf(Chunk chunk) => chunk is { Profile: Profile.Raid1, Copies: > 2 } ? $"RAID1C{chunk.Copies}" : chunk.Profile switch
    {
        Profile.Single => "single",
        Profile.Dup => "DUP",
        _ => chunk.Profile.ToString().ToUpperInvariant(),
    };

    // The first 64 KiB are left to boot code.
    private BtrfsFile? Boot(GuestFolder root)
    {
        int bytes = (int)SuperblockReader.Primary;
        using RentedBuffer buffer = _volume.Context.Budget.Rent(bytes);
        try
        {
            _first.Read(0, buffer.Span);
        }
        catch (DiskFormatException e)
        {
            _volume.Context.Gaps.Add(new CoverageGap(e, "$Boot", bytes));
            return null;
        }

        return buffer.Span.ContainsAnyExcept((byte)0)
            ? new BtrfsFile { Kind = GuestFileKind.System, Id = 0, SizeBytes = bytes, FirstByte = 0, Links = [new GuestLink(root, BootName)] }
            : null;
    }
}
