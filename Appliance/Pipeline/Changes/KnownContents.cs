using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// Tells which contents need not be read: those that are, bytes and names, what an earlier scan matched, since none of their places was written since
/// then; and those that show through whole from a layer below, where a scan of whatever VM over the same layer has matched them.
/// Nothing is concluded from that until a sample of them, chosen by chance, was read and is what it should be. If it is not, all are read.
/// </summary>
internal sealed class KnownContents
{
    /// <summary>Sampled at least, or a twentieth of all if that is less: a share of little would be nothing.</summary>
    private const long LeastSampleBytes = 1 << 20;

    private readonly TraceLedger? _ofVm;
    private readonly ChangedMap[] _changes = [];
    private readonly TraceLedger[] _ofLayers = [];
    private readonly IReadOnlyList<LayeredDisk> _disks = [];
    private readonly Dictionary<int, DiskSource>? _opened;
    private readonly double _share;
    private readonly Action<FindingReport> _onFinding;
    private readonly SeenContents? _seen;
    private readonly ConcurrentQueue<(string Path, TraceLedger Ledger)> _disproved = new();
    private List<(ContentItem Item, KnownContent Known)> _known = [];
    private bool _isSettling;

    /// <param name="disks">As they were opened.</param>
    /// <param name="onFinding">Told of what an earlier scan found in a content that is the same.</param>
    /// <param name="send">Takes what is to be known by the next scan.</param>
    /// <param name="seen">Told of executables that were not read; null when nobody records where they are.</param>
    private KnownContents(ScanJob job, IEnumerable<IBlockSource> disks, Action<FindingReport> onFinding, Action<TracedEvent> send, SeenContents? seen)
    {
        if (job.Tracing is { } tracing)
        {
            byte[][] names = [.. tracing.Disks.Select(d => SHA256.HashData(Encoding.UTF8.GetBytes(d.Name)))];
            _ofVm = new TraceLedger(tracing.Key, names, Earlier(tracing.Earlier), -1, send);
            _changes = [.. tracing.Disks.Select(d => new ChangedMap(d.Changed))];
        }

        if (job.Layers is { } layers)
        {
            byte[][] name = [SHA256.HashData("layer"u8)];
            _ofLayers = [.. layers.Layers.Select((l, i) => new TraceLedger(l.Key, name, Earlier(l.Earlier), i, send))];
            _disks = layers.Disks;
            _opened = disks.OfType<DiskSource>().ToDictionary(d => d.Disk);
        }

        (_share, _onFinding, _seen) = (job.RecheckShare, onFinding, seen);
    }

    /// <summary>Null when there is nothing to know and nothing to remember.</summary>
    public static KnownContents? Of(ScanJob job, IEnumerable<IBlockSource> disks, Action<FindingReport> onFinding, Action<TracedEvent> send, SeenContents? seen) =>
        job.Tracing is null && job.Layers is null ? null : new KnownContents(job, disks, onFinding, send, seen);

    /// <summary>True when the content need not be read, so far as is known yet. For the reading thread.</summary>
    public bool IsKnown(ContentItem item, IBlockSource source)
    {
        if (_isSettling)
        {
            return false;
        }

        (item.Trace, item.LayerTrace, item.Layer) = (null, null, -1);
        try
        {
            if (ContentPlaces.Of(source, _opened) is not { } places)
            {
                return false;
            }

            KnownContent? known = null;
            if (_ofVm is not null)
            {
                item.Trace = _ofVm.Trace(item, source.Length, places);
                known = places.Pieces.Any(p => p.Disk != DiskRange.Nowhere && _changes[p.Disk].Touches(p.Offset, p.Length)) ? null : _ofVm.Find(item.Trace.Value, item);
            }

            if (LayerOf(places) is { } layer)
            {
                (item.Layer, item.LayerTrace) = (layer.Layer, layer.Trace(item, source.Length, places));
                known ??= layer.Find(item.LayerTrace.Value, item);
            }

            if (known is null)
            {
                return false;
            }

            _known.Add((item, known));
            return true;
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            // Reading it meets the fault and reports it.
            return false;
        }
    }

    /// <summary>A content was hashed: is it what it was thought to be? Safe for many threads.</summary>
    public void Check(ContentItem item, ReadOnlySpan<byte> sha256)
    {
        if (item.Expected is { } known && known.Check != CheckOf(sha256))
        {
            _disproved.Enqueue((item.Path, known.Ledger!));
        }
    }

    /// <summary>A content was matched to its end, without a gap. Safe for many threads.</summary>
    /// <param name="isExecutable">Its place is recorded.</param>
    public void Keep(ContentItem item, IReadOnlyList<FindingReport> findings, byte[] sha256, bool isExecutable)
    {
        if (item.Trace is null && item.LayerTrace is null)
        {
            return;
        }

        byte[] payload = TracedPayload.Write(findings, isExecutable ? sha256 : null);
        if (item.Trace is { } trace)
        {
            _ofVm!.Keep(trace, CheckOf(sha256), payload);
        }

        if (item.LayerTrace is { } ofLayer)
        {
            _ofLayers[item.Layer].Keep(ofLayer, CheckOf(sha256), payload);
        }
    }

    /// <summary>After all else was read: checks by a sample that what was not read need not be, and reads what must.</summary>
    /// <param name="read">Reads and matches contents, and returns when that is done.</param>
    /// <param name="onDisproved">Told of the layers that are not what they were; -1: the VM's own disks.</param>
    public void Settle(Action<IReadOnlyList<ContentItem>> read, string vm, Action<IReadOnlyList<int>> onDisproved)
    {
        _isSettling = true;
        List<(ContentItem Item, KnownContent Known)> sample = TakeSample();
        foreach ((ContentItem item, KnownContent known) in sample)
        {
            item.Expected = known;
        }

        read([.. sample.Select(s => s.Item).OrderBy(i => i.Order)]);
        if (_disproved.TryPeek(out (string Path, TraceLedger Ledger) first))
        {
            int[] layers = [.. _disproved.Select(d => d.Ledger.Layer).Distinct()];
            onDisproved(layers);
            string what = first.Ledger.Layer < 0 ? "what its hypervisor says was not written since the last scan" : "an image below that was not written to since it was scanned, as its store says";
            _onFinding(FindingReports.Of(new VerdictFinding(BuiltinDetection.ChangedUnseen.Found(string.Create(
                CultureInfo.InvariantCulture, $"{_disproved.Count} of {sample.Count} contents that were checked differ, such as {first.Path}: they lie in {what}; {_known.Count} more were read, and nothing was taken from earlier scans"))), [vm], 0, ""));
            read([.. _known.Select(k => k.Item)]);
            _known.Clear();
        }

        foreach ((ContentItem item, KnownContent known) in _known)
        {
            Conclude(item, known);
        }

        _ofVm?.Flush();
        Array.ForEach(_ofLayers, l => l.Flush());
    }

    private void Conclude(ContentItem item, KnownContent known)
    {
        bool isInherited = known.Ledger!.Layer >= 0;
        foreach (FindingReport finding in known.Findings)
        {
            _onFinding(isInherited ? finding with { Unchanged = null, Inherited = true } : finding with { Unchanged = true, Inherited = null });
        }

        if (isInherited)
        {
            item.Coverage.Inherited(item.SizeBytes);
            if (known.Sha256 is { } sha256)
            {
                _seen?.Add(item.Path, item.SizeBytes, sha256);
            }
        }
        else
        {
            item.Coverage.Unchanged(item.SizeBytes);
        }

        if (item.Trace is { } trace)
        {
            _ofVm!.Keep(trace, known.Check, known.Payload);
        }
    }

    /// <summary>Contents by chance, until they are as many bytes as are to be checked. What is larger than that is left out.</summary>
    private List<(ContentItem Item, KnownContent Known)> TakeSample()
    {
        long all = _known.Total(k => k.Item.SizeBytes);
        long left = _share <= 0 ? 0 : Math.Max(Math.Min(LeastSampleBytes, all / 20), (long)(all * Math.Min(1, _share)));
        // In the order of random numbers that are made at once: a call for each of ten thousand costs more than sorting them.
        ulong[] random = new ulong[_known.Count];
        RandomNumberGenerator.Fill(MemoryMarshal.AsBytes(random.AsSpan()));
        int[] order = [.. Enumerable.Range(0, random.Length)];
        Array.Sort(random, order);
        List<(ContentItem Item, KnownContent Known)> sample = [];
        bool[] isTaken = new bool[order.Length];
        foreach (int at in order)
        {
            long size = _known[at].Item.SizeBytes;
            if (size > 0 && size <= left)
            {
                left -= size;
                sample.Add(_known[at]);
                isTaken[at] = true;
            }
        }

        _known = [.. _known.Where((_, at) => !isTaken[at])];
        return sample;
    }

    /// <summary>The ledger of the deepest layer that has all of a content; null where there is none of which anything is kept.</summary>
    private TraceLedger? LayerOf(ContentPlaces places)
    {
        if (places.Disk < 0 || places.Disk >= _disks.Count)
        {
            return null;
        }

        DiskLayer? layer = _disks[places.Disk].Layers.FirstOrDefault(l => l.Depth == places.Layer.Depth && l.File == places.Layer.File);
        return layer is null ? null : _ofLayers[layer.Layer];
    }

    private static ulong CheckOf(ReadOnlySpan<byte> sha256) => BinaryPrimitives.ReadUInt64BigEndian(sha256);

    private static EarlierTraces? Earlier(string? path) => path is null ? null : new EarlierTraces(path);
}
