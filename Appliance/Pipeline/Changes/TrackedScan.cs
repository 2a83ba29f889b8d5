using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Serilog;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Sqlite;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Yara;

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
        byte[]? context = ContextOf(settings, prepared, engines, out string why);
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
            Write(earlier, parts);
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

        _traces += traced.Traces.Length / EarlierTraces.TraceBytes;
        _findingBytes += traced.Findings.Sum(f => (long)f.Payload.Length);
        if (_traces > MostTraces || _findingBytes > MostFindingBytes)
        {
            Say("not all of this scan is remembered: it is too much");
            return;
        }

        if (!_cache!.Try(() =>
        {
            _cache.Traces.Add(scan, Encode(traced));
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
            Say("its hypervisor does not remember changes of it from now on");
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

    private static byte[] Encode(TracedEvent traced)
    {
        using var part = new MemoryStream();
        Span<byte> count = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(count, traced.Traces.Length);
        part.Write(count);
        part.Write(traced.Traces);
        foreach (TracedFindings findings in traced.Findings)
        {
            part.Write(findings.Trace);
            BinaryPrimitives.WriteInt32LittleEndian(count, findings.Payload.Length);
            part.Write(count);
            part.Write(findings.Payload);
        }

        return part.ToArray();
    }

    /// <summary>As <see cref="EarlierTraces"/> reads it.</summary>
    private static void Write(string path, IReadOnlyList<byte[]> parts)
    {
        using FileStream file = PrivateFiles.Create(path);
        Span<byte> count = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(count, parts.Sum(p => (long)BinaryPrimitives.ReadInt32LittleEndian(p)) / EarlierTraces.TraceBytes);
        file.Write(count);
        foreach (byte[] part in parts)
        {
            file.Write(part.AsSpan(sizeof(int), BinaryPrimitives.ReadInt32LittleEndian(part)));
        }

        foreach (byte[] part in parts)
        {
            file.Write(part.AsSpan(sizeof(int) + BinaryPrimitives.ReadInt32LittleEndian(part)));
        }
    }

    /// <summary>
    /// All that a content's report follows from beside the content and its names: this program, engines, rules, lists and limits. Null where that is not
    /// known, or follows from more.
    /// </summary>
    private static byte[]? ContextOf(ScanSettings settings, PreparedRules prepared, PreparedEngines engines, out string why)
    {
        why = "";
        byte[] rules = [];
        if (prepared.Rules is { } files)
        {
            if (files.Compiled.AsksTime)
            {
                why = "a rule asks for the time, so that everything is matched anew";
                return null;
            }

            if (CompiledRuleStore.DigestOfLibrary(files.Compiled.LibraryFile) is not { } library)
            {
                why = "it is not known which libyara is in use";
                return null;
            }

            rules = [.. library, .. files.Compiled.All];
        }

        if (prepared.Engines.FirstOrDefault(e => e.Fault is not null || e.Bundle.Length == 0) is { } silent)
        {
            why = $"{silent.Name} does not say what it matches with, so that everything is matched anew";
            return null;
        }

        string text = string.Join('\n', prepared.Engines.Select(e => $"{e.Name}\0{e.Version}\0{e.Rules}\0{e.Bundle}").Concat(engines.KnownGoodDigests).Append($"{settings.MemoryBytes}\0{settings.IncludeDeleted}\0{settings.ArchivesText}"));
        return SHA256.HashData([.. VerdictCache.Program, .. SHA256.HashData(rules), .. Encoding.UTF8.GetBytes(text)]);
    }
}
