using System.Security.Cryptography;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Content in memory, or one window of it, on its way to a matching thread.</summary>
internal sealed class Content(ContentItem item, ContentBuffer buffer, long offset, WindowedContent? windows) : IDisposable
{
    public ContentItem Item => item;

    public ReadOnlySpan<byte> Bytes => buffer.Span;

    /// <summary>Where <see cref="Bytes"/> begin in the content; over 0 in later windows only.</summary>
    public long Offset => offset;

    /// <summary>What the windows of one content share; null when it is held whole.</summary>
    public WindowedContent? Windows => windows;

    /// <summary>The content was cut off where it could not be read on.</summary>
    public bool IsPartial { get; init; }

    public void Dispose() => buffer.Dispose();
}

/// <summary>
/// A content too large to be held whole: its windows are matched one by one, and its findings wait for its hash. An empty
/// window closes it.
/// </summary>
internal sealed class WindowedContent
{
    private static readonly byte[] Zeros = new byte[1 << 20];

    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private int _open = 1;

    /// <summary>Detections of all windows; lock it.</summary>
    public List<Detection> Found { get; } = [];

    /// <summary>Something could not be read, so that there is no hash of the whole.</summary>
    public bool IsBroken { get; set; }

    /// <summary>Called by the reader with each byte once, in order.</summary>
    public void Append(ReadOnlySpan<byte> bytes) => _hash.AppendData(bytes);

    /// <summary>In place of bytes that are not stored.</summary>
    /// <param name="onStep">Called now and then: hashing gigabytes is work, not a hang.</param>
    public void AppendZeros(long count, Action onStep, CancellationToken stop)
    {
        for (; count > 0; count -= Zeros.Length)
        {
            stop.ThrowIfCancellationRequested();
            onStep();
            _hash.AppendData(Zeros.AsSpan(0, (int)Math.Min(count, Zeros.Length)));
        }
    }

    /// <summary>Called by the reader for each window it hands on but the closing one.</summary>
    public void Begin() => Interlocked.Increment(ref _open);

    /// <summary>Called by the thread that has finished a window: the content's SHA-256 (empty when broken) with the last one, otherwise null.</summary>
    public byte[]? Finish()
    {
        if (Interlocked.Decrement(ref _open) != 0)
        {
            return null;
        }

        byte[] hash = _hash.GetHashAndReset();
        _hash.Dispose();
        return IsBroken ? [] : hash;
    }
}
