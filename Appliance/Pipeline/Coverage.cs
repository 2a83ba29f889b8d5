using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>How much of a volume, or of what lies outside volumes, was seen and scanned. Safe for many threads.</summary>
/// <param name="id">The volume's id; empty for what lies outside volumes.</param>
internal sealed class Coverage(string id)
{
    private long _filesSeen;
    private long _filesScanned;
    private long _filesKnownGood;
    private long _filesCached;
    private long _filesUnchanged;
    private long _bytesUnchanged;
    private long _filesInherited;
    private long _bytesInherited;
    private long _bytesSeen;
    private long _bytesRead;

    public string Id { get; } = id;

    public void See(long bytes)
    {
        Interlocked.Increment(ref _filesSeen);
        Saturating.Add(ref _bytesSeen, bytes);
    }

    public void Read(long bytes) => Saturating.Add(ref _bytesRead, bytes);

    public void Scanned() => Interlocked.Increment(ref _filesScanned);

    /// <summary>It is also <see cref="Scanned"/>.</summary>
    public void KnownGood() => Interlocked.Increment(ref _filesKnownGood);

    /// <summary>The verdict, or all of it but that of rules added since, was remembered from an earlier scan.</summary>
    public void Cached() => Interlocked.Increment(ref _filesCached);

    /// <summary>It was scanned before and cannot have changed since: neither read nor <see cref="Scanned"/>.</summary>
    public void Unchanged(long bytes)
    {
        Interlocked.Increment(ref _filesUnchanged);
        Saturating.Add(ref _bytesUnchanged, bytes);
    }

    /// <summary>It shows through from a layer below that was scanned: neither read nor <see cref="Scanned"/>.</summary>
    public void Inherited(long bytes)
    {
        Interlocked.Increment(ref _filesInherited);
        Saturating.Add(ref _bytesInherited, bytes);
    }

    public CoverageCounts Counts => new(
        Interlocked.Read(ref _filesSeen), Interlocked.Read(ref _filesScanned), Interlocked.Read(ref _bytesSeen), Interlocked.Read(ref _bytesRead),
        Interlocked.Read(ref _filesCached))
    {
        FilesKnownGood = Interlocked.Read(ref _filesKnownGood),
        FilesUnchanged = Interlocked.Read(ref _filesUnchanged),
        BytesUnchanged = Interlocked.Read(ref _bytesUnchanged),
        FilesInherited = Interlocked.Read(ref _filesInherited),
        BytesInherited = Interlocked.Read(ref _bytesInherited),
    };
}
