using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>What a directory entry leads to.</summary>
public enum GuestFileKind
{
    /// <summary>A regular file's content, or with <see cref="GuestFile.StreamName"/> one of its alternate streams.</summary>
    Regular,

    Folder,

    /// <summary>A symbolic link, junction or other reparse point: listed, never followed.</summary>
    Link,

    /// <summary>Device node, FIFO or socket.</summary>
    Device,

    /// <summary>File-system metadata that is not listed as a file but can carry code (<c>$Boot</c>, boot sectors): scanned only.</summary>
    System,
}

/// <summary>A folder of the guest, as the parent of names. The root has no parent and an empty name.</summary>
/// <param name="parent">The folder above; null for the root of the volume.</param>
/// <param name="name">Bytes as <see cref="GuestName"/> has them, without separators.</param>
public sealed class GuestFolder(GuestFolder? parent, byte[] name)
{
    public GuestFolder? Parent { get; } = parent;

    public byte[] Name { get; } = name;
}

/// <summary>One name of a file: hard links have several.</summary>
public readonly record struct GuestLink(GuestFolder Folder, byte[] Name)
{
    /// <summary>The path below the volume, <c>/</c> between names, without a leading one.</summary>
    public byte[] Path(ReadOnlySpan<byte> streamName = default)
    {
        int length = Name.Length + (streamName.IsEmpty ? 0 : 1 + streamName.Length);
        for (GuestFolder? f = Folder; f?.Parent is not null; f = f.Parent)
        {
            length += f.Name.Length + 1;
        }

        byte[] path = new byte[length];
        int end = length;
        if (!streamName.IsEmpty)
        {
            end -= streamName.Length;
            streamName.CopyTo(path.AsSpan(end));
            path[--end] = (byte)':';
        }

        end -= Name.Length;
        Name.CopyTo(path, end);
        for (GuestFolder? f = Folder; f?.Parent is not null; f = f.Parent)
        {
            path[--end] = (byte)'/';
            end -= f.Name.Length;
            f.Name.CopyTo(path, end);
        }

        return path;
    }
}

/// <summary>One content of a file system: a file, a stream, a folder or a link, under all its names.</summary>
public class GuestFile
{
    public required GuestFileKind Kind { get; init; }

    /// <summary>Inode or MFT record number.</summary>
    public required ulong Id { get; init; }

    /// <summary>Content length in bytes; for a link the length of its target, 0 for folders and devices.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Where the first stored byte lies on the volume; of a resident file the record's own offset; -1 when nothing is stored.</summary>
    public required long FirstByte { get; init; }

    /// <summary>At least one; never empty. Names of files whose folder is gone lie below <c>$OrphanFiles</c> (NTFS, ext).</summary>
    public required IReadOnlyList<GuestLink> Links { get; init; }

    /// <summary>The alternate data stream's name; empty for the file's own content.</summary>
    public byte[] StreamName { get; init; } = [];

    /// <summary>Why the content cannot be read although the file exists (encrypted, unsupported, corrupt); null when it can.</summary>
    public DiskFormatException? Fault { get; init; }

    /// <summary>The subvolume whose topmost folder this is (Btrfs); null for all else.</summary>
    public virtual GuestSubvolume? RootOf => null;

    /// <summary>The owner as the guest keeps it: a uid in decimal or a SID; empty when not known.</summary>
    public virtual string Owner => "";
}

/// <summary>A part of a file system that a guest can mount by itself.</summary>
/// <param name="IsDefault">It is what a mount shows where none is named.</param>
public sealed record GuestSubvolume(ulong Id, bool IsDefault);

/// <summary>What a file system says of itself.</summary>
/// <param name="Kind">Lower case, with its variant: <c>ntfs</c>, <c>ext4</c>, <c>fat32</c>.</param>
/// <param name="Label">Volume label; guest text.</param>
/// <param name="Id">UUID or serial number as its own tools print it.</param>
/// <param name="BlockBytes">Cluster or block size.</param>
/// <param name="SizeBytes">Bytes the file system covers, from the start of the volume.</param>
/// <param name="Notes">Things to know that are no gaps, such as <c>journal replayed: 12 transactions</c>.</param>
public sealed record FileSystemFacts(string Kind, string Label, string Id, int BlockBytes, long SizeBytes, IReadOnlyList<string> Notes);

/// <summary>An opened file system.</summary>
public interface IFileSystem : IDisposable
{
    FileSystemFacts Facts { get; }

    /// <summary>
    /// Everything the file system holds, in no particular order, metadata read in bulk. Called once or more. Entries that cannot be
    /// read become gaps of the context (path, or inode where it has none) and the walk goes on.
    /// </summary>
    /// <exception cref="DiskFormatException">Nothing at all can be listed.</exception>
    IEnumerable<GuestFile> Walk();

    /// <summary>The content of a file that <see cref="Walk"/> gave. Reading it may throw <see cref="DiskFormatException"/>.</summary>
    IBlockSource OpenContent(GuestFile file);
}

/// <summary>A file system format: recognises and opens.</summary>
public interface IFileSystemFormat
{
    string Name { get; }

    /// <summary>What is read of it.</summary>
    FormatSupport Support => new(Name, "");

    /// <summary>True when the volume's first structures say so. Never throws for content.</summary>
    bool Probe(IBlockSource volume);

    /// <summary>
    /// True when only a backup of the first structures says so. Copies outlive a new file system on the volume, so this is asked when
    /// nothing else is recognised. Never throws for content.
    /// </summary>
    bool ProbeCopy(IBlockSource volume) => false;

    /// <exception cref="DiskFormatException">The file system cannot be read at all.</exception>
    IFileSystem Open(IBlockSource volume, ReadContext context);

    /// <summary>
    /// What names the whole file system when it can lie on several volumes (the fsid of Btrfs), the same for each of them; null when
    /// this volume is all there is. Never throws for content.
    /// </summary>
    string? SpanIdentity(IBlockSource volume) => null;

    /// <summary>Opens a file system that lies on all the volumes of one <see cref="SpanIdentity"/> that were found.</summary>
    /// <param name="volumes">At least one, in the order in which they were found. Some of the file system's may be missing.</param>
    IFileSystem Open(IReadOnlyList<IBlockSource> volumes, ReadContext context) => Open(volumes[0], context);
}

/// <summary>An earlier state of a volume, kept on the volume itself.</summary>
/// <param name="Id">As the guest's own tools show it.</param>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="SizeBytes">Length of the volume then, as the guest says.</param>
public sealed record VolumeSnapshot(Guid Id, DateTimeOffset CreatedAt, long SizeBytes);

/// <summary>A file system format whose volumes may keep earlier states of themselves (NTFS: volume shadow copies).</summary>
public interface IVolumeSnapshots
{
    /// <summary>The states, the oldest first. Costs little where there are none; what cannot be read is a gap.</summary>
    IReadOnlyList<VolumeSnapshot> Snapshots(IBlockSource volume, ReadContext context);

    /// <summary>The volume as it was. Does not own the volume; is to be disposed before it.</summary>
    /// <exception cref="DiskFormatException">There is no such state, or it cannot be put together.</exception>
    IBlockSource OpenSnapshot(IBlockSource volume, VolumeSnapshot snapshot, ReadContext context);
}
