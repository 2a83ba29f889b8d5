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
internal sealed class WindowedContent(HashNeeds needs)
{
    private static readonly byte[] Zeros = new byte[1 << 20];

    private readonly IncrementalHash[] _hashes = [.. needs.Algorithms.Select(IncrementalHash.CreateHash)];
    private int _open = 1;

    /// <summary>Detections of all windows; lock it.</summary>
    public List<Detection> Found { get; } = [];

    /// <summary>Something could not be read, so that there is no hash of the whole.</summary>
    public bool IsBroken { get; set; }

    /// <summary>Something of it was not matched to its end. Set under the lock.</summary>
    public bool HasGaps { get; set; }

    /// <summary>Its first window begins as executables do. Set under the lock.</summary>
    public bool IsExecutable { get; set; }

    /// <summary>Called by the reader with each byte once, in order.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        foreach (IncrementalHash hash in _hashes)
        {
            hash.AppendData(bytes);
        }
    }

    /// <summary>In place of bytes that are not stored.</summary>
    /// <param name="onStep">Called now and then: hashing gigabytes is work, not a hang.</param>
    public void AppendZeros(long count, Action onStep, CancellationToken stop)
    {
        for (; count > 0; count -= Zeros.Length)
        {
            stop.ThrowIfCancellationRequested();
            onStep();
            Append(Zeros.AsSpan(0, (int)Math.Min(count, Zeros.Length)));
        }
    }

    /// <summary>Called by the reader for each window it hands on but the closing one.</summary>
    public void Begin() => Interlocked.Increment(ref _open);

    /// <summary>Called by the thread that has finished a window: the content's hashes (empty when broken) with the last one, otherwise null.</summary>
    public ContentHashes? Finish()
    {
        if (Interlocked.Decrement(ref _open) != 0)
        {
            return null;
        }

        byte[][] values = [.. _hashes.Select(h => h.GetHashAndReset())];
        Array.ForEach(_hashes, h => h.Dispose());
        return IsBroken ? ContentHashes.None : needs.Named(values);
    }
}

/// <summary>The hashes of one content; those that were not computed are empty.</summary>
internal sealed record ContentHashes(byte[] Sha256, byte[] Sha1, byte[] Md5)
{
    public static readonly ContentHashes None = new([], [], []);

    public string Hex => Convert.ToHexStringLower(Sha256);
}

/// <summary>Which hashes are computed: SHA-256 always, the others where a list has them.</summary>
internal sealed record HashNeeds(bool Sha1, bool Md5)
{
    public static readonly HashNeeds Sha256Only = new(false, false);

    public IEnumerable<HashAlgorithmName> Algorithms
    {
        get
        {
            yield return HashAlgorithmName.SHA256;
            if (Sha1)
            {
                yield return HashAlgorithmName.SHA1;
            }

            if (Md5)
            {
                yield return HashAlgorithmName.MD5;
            }
        }
    }

    /// <summary>Values in the order of <see cref="Algorithms"/>.</summary>
    public ContentHashes Named(byte[][] values) => new(values[0], Sha1 ? values[1] : [], Md5 ? values[^1] : []);

    public ContentHashes Of(ReadOnlySpan<byte> content) => new(
        SHA256.HashData(content),
        Sha1 ? Legacy.Sha1(content) : [],
        Md5 ? Legacy.Md5(content) : []);

    /// <summary>Broken as signatures; here they are names that lists of known files use.</summary>
    private static class Legacy
    {
#pragma warning disable CA5350, CA5351 // Lists of known malware come in these; nothing is trusted by them.
        public static byte[] Sha1(ReadOnlySpan<byte> content) => SHA1.HashData(content);

        public static byte[] Md5(ReadOnlySpan<byte> content) => MD5.HashData(content);
#pragma warning restore CA5350, CA5351
    }
}
