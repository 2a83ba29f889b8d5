namespace Vmsweep.Signatures.Archives;

/// <summary>Why something inside of a content was not read.</summary>
public enum ArchiveFault
{
    /// <summary>A structure contradicts its specification.</summary>
    Corrupt,

    /// <summary>The content ends before the bytes it declares.</summary>
    Truncated,

    /// <summary>A known structure or method that is not read.</summary>
    Unsupported,

    /// <summary>Encrypted, and no known password fits.</summary>
    Encrypted,

    /// <summary>A limit of depth, members, bytes, ratio or memory was reached.</summary>
    Limit,

    /// <summary>The time for one content was over.</summary>
    Timeout,
}

/// <summary>Something inside of a content that cannot be read: the one exception that readers of archives throw for hostile bytes.</summary>
public sealed class ArchiveException(ArchiveFault fault, string structure, long offset, string detail) : Exception($"{structure}: {detail}")
{
    public ArchiveFault Fault { get; } = fault;

    public string Structure { get; } = structure;

    /// <summary>In the content that holds the structure; -1 when not known.</summary>
    public long Offset { get; } = offset;

    public string Detail { get; } = detail;

    internal static ArchiveException Corrupt(string structure, long offset, string detail) => new(ArchiveFault.Corrupt, structure, offset, detail);

    internal static ArchiveException Truncated(string structure, long offset) => new(ArchiveFault.Truncated, structure, offset, "the content ends in the middle of it");

    internal static ArchiveException Unsupported(string structure, long offset, string detail) => new(ArchiveFault.Unsupported, structure, offset, detail);
}

/// <summary>
/// A budget of the whole walk is used up: ends it, however deep, through every boundary. Not an <see cref="ArchiveException"/>, which ends one member
/// or archive.
/// </summary>
internal sealed class ArchiveBudgetException(ArchiveFault fault, string structure, string detail) : Exception(detail)
{
    public ArchiveFault Fault { get; } = fault;

    public string Structure { get; } = structure;
}
