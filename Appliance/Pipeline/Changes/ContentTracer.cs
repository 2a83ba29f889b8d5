using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// Tells which contents are, bytes and names, what an earlier scan matched. A trace is a digest over everything that a verdict follows from but the bytes
/// themselves: names, owner, size, and where on which disk each byte stands. A content whose trace was known then, and of whose places none was written
/// since, is the same. Times of files are never asked.
/// </summary>
internal sealed class ContentTracer
{
    /// <summary>A content in more pieces is read: its trace would cost more than it spares.</summary>
    private const int MostPieces = 1 << 16;

    private static readonly byte[] NoDisk = new byte[SHA256.HashSizeInBytes];

    private readonly byte[] _key;
    private readonly byte[][] _names;
    private readonly ChangedMap[] _changes;
    private readonly EarlierTraces? _earlier;
    private readonly Action<FindingReport> _onFinding;
    private readonly Action<TracedEvent> _send;
    private readonly Lock _lock = new();
    private readonly List<byte> _traces = [];
    private List<TracedFindings> _findings = [];
    private int _findingBytes;

    /// <param name="onFinding">Told of what an earlier scan found in a content that is the same.</param>
    /// <param name="send">Takes what is to be known by the next scan.</param>
    public ContentTracer(TracingJob job, Action<FindingReport> onFinding, Action<TracedEvent> send)
    {
        _key = job.Key;
        _names = [.. job.Disks.Select(d => SHA256.HashData(Encoding.UTF8.GetBytes(d.Name)))];
        _changes = [.. job.Disks.Select(d => new ChangedMap(d.Changed))];
        _earlier = job.Earlier is { } path ? new EarlierTraces(path) : null;
        _onFinding = onFinding;
        _send = send;
    }

    /// <summary>Traces a content, and is done with it when it is the same as before. For one thread.</summary>
    public bool IsUnchanged(ContentItem item, IBlockSource source)
    {
        item.Trace = null;
        try
        {
            if (Trace(item, source, out bool isTouched) is not { } trace)
            {
                return false;
            }

            item.Trace = trace;
            if (isTouched || _earlier is null || !_earlier.Has(trace, out byte[] payload))
            {
                return false;
            }

            IReadOnlyList<FindingReport> findings = payload.Length == 0 ? [] : JsonSerializer.Deserialize(payload, TracedJson.Default.IReadOnlyListFindingReport) ?? [];
            foreach (FindingReport finding in findings)
            {
                _onFinding(finding with { Unchanged = true });
            }

            item.Coverage.Unchanged(item.SizeBytes);
            Keep(trace, payload);
            return true;
        }
        catch (Exception e) when (e is DiskFormatException or IOException or JsonException)
        {
            // Reading it meets the fault and reports it.
            return false;
        }
    }

    /// <summary>A content was matched to its end, without a gap. Safe for many threads.</summary>
    public void Keep(ContentItem item, IReadOnlyList<FindingReport> findings)
    {
        if (item.Trace is { } trace)
        {
            Keep(trace, findings.Count == 0 ? [] : JsonSerializer.SerializeToUtf8Bytes(findings, TracedJson.Default.IReadOnlyListFindingReport));
        }
    }

    /// <summary>Sends what was kept until now.</summary>
    public void Flush()
    {
        lock (_lock)
        {
            if (_traces.Count > 0)
            {
                _send(new TracedEvent([.. _traces], _findings));
                _traces.Clear();
                (_findings, _findingBytes) = ([], 0);
            }
        }
    }

    private void Keep(UInt128 trace, byte[] payload)
    {
        if (payload.Length > TracedFindings.MostPayloadBytes)
        {
            return;
        }

        Span<byte> bytes = stackalloc byte[EarlierTraces.TraceBytes];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, trace);
        lock (_lock)
        {
            _traces.AddRange(bytes);
            if (payload.Length > 0)
            {
                _findings.Add(new TracedFindings(bytes.ToArray(), payload));
                _findingBytes += payload.Length;
            }

            if (_traces.Count >= TracedEvent.MostTraces * EarlierTraces.TraceBytes || _findingBytes >= 1 << 20)
            {
                Flush();
            }
        }
    }

    /// <summary>Null where a byte stands nowhere that can be told.</summary>
    private UInt128? Trace(ContentItem item, IBlockSource source, out bool isTouched)
    {
        isTouched = false;
        if (source is not IDiskBacked backed)
        {
            return null;
        }

        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _key);
        Append(hash, item.HasWhole ? "content" : "area");
        foreach (string path in item.Paths)
        {
            Append(hash, path);
        }

        Append(hash, item.Owner);
        Append(hash, source.Length);
        DiskRange? open = null;
        int pieces = 0;
        for (long at = 0; at < source.Length;)
        {
            if (backed.OnDisk(at, source.Length - at) is not { } range)
            {
                return null;
            }

            isTouched |= range.Disk != DiskRange.Nowhere && _changes[range.Disk].Touches(range.Offset, range.Length);
            at += range.Length;
            if (open is { } before && before.Disk == range.Disk && (range.Disk == DiskRange.Nowhere || before.Offset + before.Length == range.Offset))
            {
                // However finely a format tells the same place.
                open = before with { Length = before.Length + range.Length };
                continue;
            }

            if (++pieces > MostPieces)
            {
                return null;
            }

            AppendPiece(hash, open);
            open = range;
        }

        AppendPiece(hash, open);
        return BinaryPrimitives.ReadUInt128BigEndian(hash.GetHashAndReset());
    }

    private void AppendPiece(IncrementalHash hash, DiskRange? piece)
    {
        if (piece is { } range)
        {
            hash.AppendData(range.Disk == DiskRange.Nowhere ? NoDisk : _names[range.Disk]);
            Append(hash, range.Offset);
            Append(hash, range.Length);
        }
    }

    private static void Append(IncrementalHash hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        Append(hash, bytes.Length);
        hash.AppendData(bytes);
    }

    private static void Append(IncrementalHash hash, long number)
    {
        Span<byte> bytes = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, number);
        hash.AppendData(bytes);
    }
}

/// <summary>How findings are kept until the next scan.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(IReadOnlyList<FindingReport>))]
internal sealed partial class TracedJson : JsonSerializerContext;
