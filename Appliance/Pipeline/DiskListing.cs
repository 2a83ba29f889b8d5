using System.Security.Cryptography;
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

        Dictionary<GuestFile, string>? hashes = job.Sha256 ? Hash(entries, job, context, progress) : null;
        entries.Sort((a, b) => a.Path.AsSpan().SequenceCompareTo(b.Path));
        foreach (Entry[] part in entries.Chunk(EntriesInMessage))
        {
            writer.Send(new EntriesEvent([.. part.Select(e => new ListEntry(
                GuestName.Escape(e.Path, controls: false),
                VolumePath.KindName(e.File.Kind),
                e.File.SizeBytes,
                hashes?.GetValueOrDefault(e.File) ?? ""))]));
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
                entries.Add(new Entry([.. prefix, .. path], file, volume));
            }
        }

        return found;
    }

    private static Dictionary<GuestFile, string> Hash(List<Entry> entries, ListJob job, ReadContext context, ProgressReporter progress)
    {
        var hashes = new Dictionary<GuestFile, string>(ReferenceEqualityComparer.Instance);
        var items = new Dictionary<GuestFile, ContentItem>(ReferenceEqualityComparer.Instance);
        var coverage = new Coverage("");
        foreach (Entry entry in entries)
        {
            if (entry.File.Kind == GuestFileKind.Regular && !items.ContainsKey(entry.File))
            {
                items.Add(entry.File, DiskContents.ItemOf(entry.Volume, entry.File, coverage));
            }
        }

        List<ContentItem> ordered = [.. items.Values];
        ordered.Sort((a, b) => a.Order.CompareTo(b.Order));
        progress.Begin(coverage, ordered.Total(i => i.SizeBytes));
        using var buffers = new ContentBuffers(job.MemoryBytes);
        new ContentPump(buffers, job.Threads, HashNeeds.Sha256Only, context.Gaps, long.MaxValue, ContentPump.MostZerosOfListing, progress.Step, context.Cancellation)
            .Run(ordered, () => new HashConsumer(hashes, progress), windowsAreGaps: false);
        return hashes;
    }

    private sealed record Entry(byte[] Path, GuestFile File, InspectedVolume Volume);

    /// <summary>SHA-256 of each content on one thread.</summary>
    private sealed class HashConsumer(Dictionary<GuestFile, string> hashes, ProgressReporter progress) : IContentConsumer
    {
        public void Consume(Content content)
        {
            using Content done = content;
            progress.Step();
            byte[]? sha256 = content.Windows is { } windows ? windows.Finish()?.Sha256 : content.IsPartial ? null : SHA256.HashData(content.Bytes);
            if (sha256 is { Length: > 0 })
            {
                lock (hashes)
                {
                    hashes[((GuestContent)content.Item).File] = Convert.ToHexStringLower(sha256);
                }
            }
        }

        public void Flush()
        {
        }

        public void Dispose()
        {
        }
    }
}
