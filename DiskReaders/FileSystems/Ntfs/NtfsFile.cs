namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>A content of an NTFS volume. Its layout is kept as the volume has it, so that a million of them fit.</summary>
internal sealed class NtfsFile : GuestFile
{
    /// <summary>
    /// Where the content is: mapping pairs (one attribute, nothing special), a <see cref="StreamLayout"/>, a
    /// <see cref="LinkTarget"/>, a <see cref="Dedup.DedupReparse"/>, or null when it is resident in the file's own record or nothing is stored.
    /// </summary>
    internal object? Layout { get; init; }

    /// <summary>Where a resident value begins in the file's own record.</summary>
    internal ushort ValuePosition { get; init; }

    /// <summary>Its record is no longer in use, and its clusters may be another file's.</summary>
    internal bool IsDeleted { get; init; }

    internal uint SecurityId { get; init; }

    internal required NtfsFileSystem FileSystem { get; init; }

    public override string Owner => FileSystem.OwnerOf(SecurityId);
}

/// <summary>What a link leads to, as guest bytes.</summary>
internal sealed record LinkTarget(byte[] Bytes);
