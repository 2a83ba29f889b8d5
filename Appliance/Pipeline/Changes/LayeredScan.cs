using System.Security.Cryptography;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// The supervisor's part of a scan that does not read what shows through from layers which were read: which layers the VM's disks have, what is known of each,
/// and what this scan adds. A layer is known by its files' state as their store says it, and that is looked at again when the scan ends.
/// </summary>
internal sealed class LayeredScan : IDisposable
{
    /// <summary>The structure of the gap that tells of a base which was written to meanwhile.</summary>
    public const string SharedBase = "shared base";

    private readonly VerdictCache _cache;
    private readonly IReadOnlyList<VmDisk> _disks;
    private readonly TimeProvider _time;
    private readonly List<UsedLayer> _layers = [];
    private readonly List<List<DiskLayer>> _ofDisks = [];
    private IDisposable? _gate;

    private LayeredScan(VerdictCache cache, IReadOnlyList<VmDisk> disks, TimeProvider time) => (_cache, _disks, _time) = (cache, disks, time);

    /// <summary>Null where nothing is to be inherited.</summary>
    /// <param name="context">What the scan matches with; null when that cannot be told.</param>
    /// <param name="since">What was read earlier is not used.</param>
    /// <param name="isShared">True for a file that other VMs are made over: it is read as a disk of its own now.</param>
    public static LayeredScan? Begin(
        VerdictCache? cache, long scope, IReadOnlyList<VmDisk> disks, byte[]? context, DateTimeOffset? since, Func<string, bool> isShared, LayerGate gate, TimeProvider time, CancellationToken cancellation)
    {
        if (cache is null || context is null || since is not { } from)
        {
            return null;
        }

        var scan = new LayeredScan(cache, disks, time);
        try
        {
            while (true)
            {
                scan.Look(scope, context, from, isShared);
                string[] unread = [.. scan._layers.Where(l => l.Row is not { IsWhole: true }).Select(l => Convert.ToHexString(l.Identity))];
                if (unread.Length == 0 || (scan._gate = gate.TryEnter(unread, out Task left)) is not null)
                {
                    break;
                }

                left.Wait(cancellation);
            }

            foreach (UsedLayer layer in scan._layers)
            {
                layer.Row ??= cache.Try(() => cache.Layers.Begin(scope, layer.Identity, context, RandomNumberGenerator.GetBytes(SHA256.HashSizeInBytes)));
            }

            return scan;
        }
        catch (OperationCanceledException)
        {
            // The scan itself says that it was stopped.
            scan.Dispose();
            return null;
        }
        catch
        {
            scan.Dispose();
            throw;
        }
    }

    /// <summary>What a worker is told; null where there is nothing to tell.</summary>
    public LayersJob? JobOf(RunFolder run, Sandbox sandbox, List<(string Host, string Inside)> binds)
    {
        if (_layers.Count == 0 || _layers.Exists(l => l.Row is null))
        {
            return null;
        }

        List<LayerTraces> layers = [];
        foreach (UsedLayer layer in _layers)
        {
            string? inside = null;
            if (_cache.Try(() => _cache.Layers.Parts(layer.Row!.Id)) is { Count: > 0 } parts)
            {
                string file = run.File($"layer-{layers.Count}");
                File.Delete(file);
                TraceFile.Write(file, parts);
                inside = sandbox.Inside(file, $"layer-{layers.Count}");
                binds.Add((file, inside));
            }

            layers.Add(new LayerTraces(layer.Row!.Key, inside));
        }

        return new LayersJob(layers, [.. _ofDisks.Select(d => new LayeredDisk(d))]);
    }

    /// <summary>Takes what a worker says it has read of a layer.</summary>
    public void OnTraced(TracedEvent traced)
    {
        if (traced.Layer < _layers.Count && _layers[traced.Layer] is { Row: { } row, IsLost: false })
        {
            _cache.Try(() =>
            {
                _cache.Layers.Add(row.Id, TraceFile.Encode(traced));
                return true;
            });
        }
    }

    /// <summary>Layers that are not what they were though their files seem to be: nobody takes anything from them any more.</summary>
    public void OnDisproved(DisprovedEvent disproved)
    {
        foreach (int layer in disproved.Layers.Where(l => l >= 0 && l < _layers.Count))
        {
            Log.Warning("{File} is not what was scanned though nothing says that it was written to; nothing is inherited from it any more", _layers[layer].File);
            _layers[layer].IsLost = true;
            _cache.Try(() =>
            {
                _cache.Layers.Disprove(_layers[layer].Identity);
                return true;
            });
        }
    }

    /// <summary>Looks whether the layers are still what they were.</summary>
    /// <param name="isWhole">The worker came to its end.</param>
    /// <param name="inheritedBytes">What it took from them.</param>
    /// <returns>What cannot be believed; null for nothing.</returns>
    public GapReport? Finish(bool isWhole, long inheritedBytes)
    {
        GapReport? gap = null;
        Dictionary<string, byte[]?> states = new(StringComparer.Ordinal);
        foreach (UsedLayer layer in _layers.Where(l => l is { Row: not null, IsLost: false }))
        {
            bool isSame = IdentityOf(layer.Disk, layer.Planned, states) is { } now && now.AsSpan().SequenceEqual(layer.Identity);
            _cache.Try(() =>
            {
                if (!isSame)
                {
                    _cache.Layers.Drop(layer.Row!.Id);
                }
                else if (isWhole)
                {
                    _cache.Layers.Complete(layer.Row!.Id);
                }

                return true;
            });
            if (!isSame && inheritedBytes > 0)
            {
                gap ??= new CoverageGap(Fault.Transport, layer.File, SharedBase, -1, inheritedBytes, "it was written to while the scan ran: what was taken from earlier scans of it may be different now").ToReport();
            }
        }

        return gap;
    }

    public void Dispose() => _gate?.Dispose();

    /// <summary>Which layers there are, and what is known of each.</summary>
    private void Look(long scope, byte[] context, DateTimeOffset since, Func<string, bool> isShared)
    {
        _layers.Clear();
        _ofDisks.Clear();
        Dictionary<string, byte[]?> states = new(StringComparer.Ordinal);
        foreach (VmDisk disk in _disks)
        {
            List<DiskLayer> ofDisk = [];
            _ofDisks.Add(ofDisk);
            foreach (PlannedLayer planned in PlannedLayers.Of(disk.Plan))
            {
                if (IdentityOf(disk, planned, states) is not { } identity)
                {
                    continue;
                }

                int at = _layers.FindIndex(l => l.Identity.AsSpan().SequenceEqual(identity));
                if (at < 0)
                {
                    ReadLayer? row = _cache.Try(() => _cache.Layers.Find(scope, identity, context, since));
                    string file = disk.Plan.Files[planned.File].Path;

                    // A disk's own top image, which nobody else is made over, is nobody else's.
                    if ((planned.Depth == 0 && row is null && !isShared(file)) || _cache.Try(() => _cache.Layers.IsDisproved(identity)))
                    {
                        continue;
                    }

                    at = _layers.Count;
                    _layers.Add(new UsedLayer(disk, planned, identity, disk.Plan.Files[planned.File].Name) { Row = row });
                }

                ofDisk.Add(new DiskLayer(planned.Depth, planned.File, at));
            }
        }
    }

    private byte[]? IdentityOf(VmDisk disk, PlannedLayer layer, Dictionary<string, byte[]?> states)
    {
        try
        {
            return PlannedLayers.Identity(disk.Plan, layer, states, _time.GetUtcNow());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private sealed record UsedLayer(VmDisk Disk, PlannedLayer Planned, byte[] Identity, string File)
    {
        public ReadLayer? Row { get; set; }

        public bool IsLost { get; set; }
    }
}
