using System.Collections.Concurrent;
using System.Text;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The guest's files, sorted by path, with their hashes if asked for.</summary>
internal static class DiskListing
{
    private const int EntriesInMessage = 500;

    /// <summary>Hashed of what is not stored: a minute or two of it.</summary>
    private const long MostZeros = 256L << 30;

    public static void Run(ListJob job, InspectedVm vm, ReadContext context, EventWriter writer, ProgressReporter progress)
    {
        List<Entry> entries = [];
        IEnumerable<InspectedVolume> volumes = vm.Volumes;
        byte[] below = [];
        if (job.Path.Length > 0)
        {
            (InspectedVolume one, below) = VolumePath.Find(vm, job.Path);
            volumes = [one];
        }

        bool found = below.Length == 0;
        foreach (InspectedVolume volume in volumes)
        {
            if (volume.FileSystem is { } fileSystem)
            {
                foreach (GuestFile file in fileSystem.Walk())
                {
                    progress.Step();
                    found |= AddNames(entries, job, volume, file, below);
                }
            }
        }

        if (!found)
        {
            throw new JobFailedException($"{job.Path} is not there");
        }

        ConcurrentDictionary<GuestFile, byte[]>? hashes = job.Sha256 ? Hash(entries, job, context, progress) : null;
        entries.Sort((a, b) => a.Path.AsSpan().SequenceCompareTo(b.Path));
        for (int at = 0; at < entries.Count; at += EntriesInMessage)
        {
            writer.Send(new EntriesEvent([.. entries.Skip(at).Take(EntriesInMessage).Select(e => new ListEntry(
                GuestName.Escape(e.Path, controls: false),
                VolumePath.KindName(e.Kind),
                e.SizeBytes,
                e.File is not null && hashes!.TryGetValue(e.File, out byte[]? hash) ? Convert.ToHexStringLower(hash) : ""))]));
        }
    }

    /// <summary>Adds the names of a file that lie below the path asked for; true when there is one, or the path itself.</summary>
    private static bool AddNames(List<Entry> entries, ListJob job, InspectedVolume volume, GuestFile file, byte[] below)
    {
        if (file.Kind == GuestFileKind.System)
        {
            return false;
        }

        bool found = false;
        byte[] prefix = Encoding.ASCII.GetBytes(volume.Id + "/");
        foreach (GuestLink link in file.Links)
        {
            byte[] path = link.Path(file.StreamName);
            bool isItself = path.AsSpan().SequenceEqual(below);
            bool isBelow = below.Length == 0 || (path.Length > below.Length && path[below.Length] == (byte)'/' && path.AsSpan().StartsWith(below));
            if (!isItself && !isBelow)
            {
                continue;
            }

            found = true;
            bool isFolder = file.Kind == GuestFileKind.Folder;
            ReadOnlySpan<byte> rest = path.AsSpan(isItself || below.Length == 0 ? 0 : below.Length + 1);
            bool shown = isItself ? !isFolder : job.Recursive || !rest.Contains((byte)'/');
            if (shown && (!job.FilesOnly || file.Kind == GuestFileKind.Regular))
            {
                bool isHashed = job.Sha256 && file.Kind == GuestFileKind.Regular;
                entries.Add(new Entry([.. prefix, .. path], file.Kind, file.SizeBytes, isHashed ? file : null, isHashed ? volume : null));
            }
        }

        return found;
    }

    private static ConcurrentDictionary<GuestFile, byte[]> Hash(List<Entry> entries, ListJob job, ReadContext context, ProgressReporter progress)
    {
        var coverage = new Coverage("");
        List<ContentItem> ordered = [.. entries.Where(e => e.File is not null).DistinctBy(e => e.File, ReferenceEqualityComparer.Instance).Select(e => DiskContents.ItemOf(e.Volume!, e.File!, coverage))];
        ordered.Sort((a, b) => a.Order.CompareTo(b.Order));
        progress.Begin(coverage, ordered.Total(i => i.SizeBytes));
        var hashes = new ConcurrentDictionary<GuestFile, byte[]>(job.Threads, ordered.Count, ReferenceEqualityComparer.Instance);
        new ContentHasher(job.IsOneStream ? 1 : job.Threads, context.Gaps, MostZeros, progress.Step, context.Cancellation)
            .Run(ordered, (item, hash) => hashes[((GuestContent)item).File] = hash);
        return hashes;
    }

    /// <param name="File">Null where its content is not hashed: of millions of files no more is kept than is listed.</param>
    private readonly record struct Entry(byte[] Path, GuestFileKind Kind, long SizeBytes, GuestFile? File, InspectedVolume? Volume);
}
