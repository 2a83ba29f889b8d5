using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// Traces that belong together: those of a VM, or of a layer that many VMs are made over. A trace is a digest over everything that a verdict follows from but
/// the bytes themselves: names, owner, size, and where on which disk each byte stands. Times of files are never asked. Safe for many threads.
/// </summary>
/// <param name="key">Not known to any guest: traces are short, and nobody may look for two contents that have the same.</param>
/// <param name="disks">What tells the disks from each other: one digest for each; one alone for a layer, which is a disk.</param>
/// <param name="earlier">What is known of before; null: nothing.</param>
/// <param name="layer">The job's number of the layer; -1: of the VM.</param>
internal sealed class TraceLedger(byte[] key, byte[][] disks, EarlierTraces? earlier, int layer, Action<TracedEvent> send)
{
    private static readonly byte[] NoDisk = new byte[SHA256.HashSizeInBytes];

    private readonly Lock _lock = new();
    private readonly ArrayBufferWriter<byte> _text = new(1024);
    private readonly List<byte> _traces = [];
    private List<TracedFindings> _findings = [];
    private int _findingBytes;

    public int Layer => layer;

    /// <summary>For one thread.</summary>
    public UInt128 Trace(ContentItem item, long length, ContentPlaces places)
    {
        // All at once, and a digest of the key and the text rather than an HMAC: for each of ten thousand files the calls to the library would cost more than the digest.
        // Half of it is kept, so that nobody who knew a trace could go on from it.
        _text.ResetWrittenCount();
        ArrayBufferWriter<byte> text = _text;
        text.Write(key);
        Append(text, item.HasWhole ? "content" : "area");
        foreach (string path in item.Paths)
        {
            Append(text, path);
        }

        Append(text, item.Owner);
        Append(text, length);
        foreach (DiskRange piece in places.Pieces)
        {
            text.Write(piece.Disk == DiskRange.Nowhere ? NoDisk : disks[layer < 0 ? piece.Disk : 0]);
            Append(text, piece.Offset);
            Append(text, piece.Length);
        }

        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(text.WrittenSpan, digest);
        return BinaryPrimitives.ReadUInt128BigEndian(digest);
    }

    /// <summary>Null: it is not known.</summary>
    public KnownContent? Find(UInt128 trace, ContentItem item)
    {
        if (earlier is null || !earlier.Has(trace, out ulong check, out byte[] payload))
        {
            return null;
        }

        // What another worker said: if it is not about this content it is not believed.
        return TracedPayload.Read(payload, item) is { } known ? known with { Ledger = this, Trace = trace, Check = check, Payload = payload } : null;
    }

    public void Keep(UInt128 trace, ulong check, byte[] payload)
    {
        if (payload.Length > TracedFindings.MostPayloadBytes)
        {
            return;
        }

        Span<byte> bytes = stackalloc byte[EarlierTraces.RecordBytes];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, trace);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[EarlierTraces.TraceBytes..], check);
        lock (_lock)
        {
            _traces.AddRange(bytes);
            if (payload.Length > 0)
            {
                _findings.Add(new TracedFindings(bytes[..EarlierTraces.TraceBytes].ToArray(), payload));
                _findingBytes += payload.Length;
            }

            if (_traces.Count >= TracedEvent.MostTraces * EarlierTraces.RecordBytes || _findingBytes >= 1 << 20)
            {
                Flush();
            }
        }
    }

    /// <summary>Sends what was kept until now.</summary>
    public void Flush()
    {
        lock (_lock)
        {
            if (_traces.Count > 0)
            {
                send(new TracedEvent([.. _traces], _findings) { Layer = layer });
                _traces.Clear();
                (_findings, _findingBytes) = ([], 0);
            }
        }
    }

    private static void Append(ArrayBufferWriter<byte> to, string text)
    {
        int bytes = Encoding.UTF8.GetByteCount(text);
        Append(to, bytes);
        Encoding.UTF8.GetBytes(text, to.GetSpan(bytes));
        to.Advance(bytes);
    }

    private static void Append(ArrayBufferWriter<byte> to, long number)
    {
        BinaryPrimitives.WriteInt64LittleEndian(to.GetSpan(sizeof(long)), number);
        to.Advance(sizeof(long));
    }
}
