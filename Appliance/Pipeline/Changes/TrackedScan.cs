using System.Security.Cryptography;
using Serilog;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// The supervisor's part of a scan that reads only what changed: what the VM's last scan left, and what this one leaves. The order in which things are made
/// to last is such that whatever moment this process dies at, the next scan builds on one that came to its end or reads all: first the hypervisor keeps the
/// new mark, then it is stored together with what was scanned, then older marks are let go.
/// </summary>
internal sealed class TrackedScan
{
    /// <summary>Contents of one VM that are remembered; what is beyond is read each time.</summary>
    private const long MostTraces = 4_000_000;

    /// <summary>Findings of one VM that are remembered.</summary>
    private const long MostFindingBytes = 64 << 20;

    private readonly VerdictCache? _cache;
    private readonly TracedScan? _last;
    private readonly byte[]? _context;
    private readonly byte[] _key;
    private readonly string _vm;
    private long? _scan;
    private TracedScan? _buildsOn;
    private long _traces;
    private long _findingBytes;
    private string _detail;

    private TrackedScan(VerdictCache? cache, string vm, byte[]? context, string detail)
    {
        (_cache, _vm, _context, _detail) = (cache, vm, context, detail);
        TracedScan? last = context is null ? null : cache?.Try(() => cache.Traces.Last(vm));
        _key = last?.Key ?? RandomNumberGenerator.GetBytes(SHA256.HashSizeInBytes);
        if (last is not null && !last.Context.AsSpan().SequenceEqual(context))
        {
            Say("signatures, options or this program changed since the last scan");
            last = null;
        }

        _last = last;
        Since = last?.Mark;
    }

    /// <summary>The mark of the view that is to be compared to; null when all is to be read.</summary>
    public string? Since { get; }

    public static TrackedScan Begin(VerdictCache? cache, string vm, ScanSettings settings, PreparedRules prepared, PreparedEngines engines)
    {
        byte[]? context = ScanContext.Of(settings, prepared, engines, out string why);
        return new TrackedScan(cache, vm, context, cache is null ? "there is no database to remember scans in" : why);
    }

    /// <summary>What a worker traces contents with; null when that would be of no use.</summary>
    /// <param name="changes">The view's; null when it tells of none.</param>
    public TracingJob? JobOf(IReadOnlyList<VmDisk> disks, IViewChanges? changes, RunFolder run, Sandbox sandbox, List<(string Host, string Inside)> binds)
    {
        if (_cache is null || _context is null || changes is null || (changes.Mark is null && _last is null))
        {
            return null;
        }

        TracedDisk[] traced = [.. disks.Select(d => new TracedDisk(d.Path, RangesOf(changes, d, TracingJob.MostRanges / disks.Count)))];
        string? earlier = null;
        if (traced.Any(d => d.Changed is not null) && _last is { } last && _cache.Try(() => _cache.Traces.Parts(last.Id)) is { } parts)
        {
            earlier = run.File("traces");
            TraceFile.Write(earlier, parts);
            string inside = sandbox.Inside(earlier, "traces");
            binds.Add((earlier, inside));
            earlier = inside;
        }
        else if (_last is not null)
        {
            Say("what changed since the last scan cannot be told");
        }

        _buildsOn = earlier is null ? null : _last;
        if (changes.Mark is not null)
        {
            _scan = _cache.Try(() => (long?)_cache.Traces.Begin(_vm, _context, _key));
        }

        return new TracingJob(_key, traced, earlier);
    }

    /// <summary>Takes what a worker says it has done, as far as there is room.</summary>
    public void OnTraced(TracedEvent traced)
    {
        if (_scan is not { } scan)
        {
            return;
        }

        _traces += traced.Traces.Length / EarlierTraces.RecordBytes;
        _findingBytes += traced.Findings.Sum(f => (long)f.Payload.Length);
        if (_traces > MostTraces || _findingBytes > MostFindingBytes)
        {
            Say("not all of this scan is remembered: it is too much");
            return;
        }

        if (!_cache!.Try(() =>
        {
            _cache.Traces.Add(scan, TraceFile.Encode(traced));
            return true;
        }))
        {
            _scan = null;
            Say("what was scanned cannot be stored");
        }
    }

    /// <param name="isWhole">The view was read to its end.</param>
    public ChangesReport Finish(IViewChanges? changes, bool isWhole)
    {
        bool isKept = false;
        if (_scan is { } scan)
        {
            if (isWhole && changes?.Mark is { } mark)
            {
                try
                {
                    changes.Keep();
                    isKept = _cache!.Try(() =>
                    {
                        _cache.Traces.Complete(scan, mark);
                        return true;
                    });
                    if (isKept)
                    {
                        changes.Release();
                    }
                    else
                    {
                        Say("what was scanned cannot be stored");
                    }
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    Log.Warning("{Vm}: {Reason}", _vm, e.Message);
                    Say(e.Message);
                }
            }
            else
            {
                Say("the scan did not come to its end");
                _cache!.Try(() =>
                {
                    _cache.Traces.Abandon(scan);
                    return true;
                });
            }
        }
        else if (changes is null)
        {
            Say("this VM's view does not tell of changes");
        }
        else if (changes.Mark is null)
        {
            Say(changes.Unmarked);
        }

        return new ChangesReport(_buildsOn?.At, isKept, _detail);
    }

    private void Say(string detail)
    {
        if (!_detail.Contains(detail, StringComparison.Ordinal))
        {
            _detail = _detail.Length > 0 ? $"{_detail}; {detail}" : detail;
        }
    }

    private IReadOnlyList<ChangedRange>? RangesOf(IViewChanges changes, VmDisk disk, int most)
    {
        if (_last is null)
        {
            return null;
        }

        try
        {
            return changes.Of(disk) is { } ranges ? ChangedMap.Joined(ranges, most) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Say($"{disk.Path}: {e.Message}");
            return null;
        }
    }
}
