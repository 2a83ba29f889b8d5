using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results;

/// <summary>
/// Which places of a VM a scan has really read, and with what: only there it can tell that something is gone. A gap over a place, a volume that was not
/// there, an engine that did not take part or a rule that was not in use tell nothing. What is not understood counts against.
/// </summary>
internal sealed class ReadPlaces
{
    private readonly FinishedScan _scan;
    private readonly HashSet<string> _volumes;
    private readonly HashSet<string> _unlisted;
    private readonly Dictionary<string, List<GapReport>> _byPath = new(StringComparer.Ordinal);
    private readonly Dictionary<string, GapReport> _byEngine = new(StringComparer.Ordinal);
    private readonly GapReport? _archives;
    private readonly GapReport? _memory;
    private readonly GapReport? _whole;

    public ReadPlaces(FinishedScan scan)
    {
        _scan = scan;
        IReadOnlyList<VolumeReport> volumes = [.. scan.Target.Disks.SelectMany(d => d.Volumes)];
        _volumes = [.. volumes.Select(v => v.Id)];
        _unlisted = [.. volumes.Where(v => v.Files.Unchanged > 0).Select(v => v.Id)];
        foreach (GapReport gap in scan.Target.Gaps)
        {
            if (gap.Structure.StartsWith("engine ", StringComparison.Ordinal))
            {
                _byEngine.TryAdd(gap.Structure["engine ".Length..], gap);
            }
            else if (gap.Structure == "archives")
            {
                _archives ??= gap;
            }
            else if (gap.Structure == "signature bundle")
            {
                // It is old: what was found with it still would be.
            }
            else if (gap.Structure is not ("findings" or "gaps") && IsOfGuest(gap.Path))
            {
                if (!_byPath.TryGetValue(gap.Path, out List<GapReport>? there))
                {
                    _byPath.Add(gap.Path, there = []);
                }

                there.Add(gap);
                _memory ??= FirstOf(gap.Path) == MemoryScan.Id ? gap : null;
            }
            else
            {
                _whole ??= gap;
            }
        }
    }

    /// <summary>Why the scan cannot tell that a finding is gone; null when it can.</summary>
    public string? WhyUnread(string path, IReadOnlyList<string> inside, string engine, string ns, string rule)
    {
        if (engine != BuiltinDetection.Engine)
        {
            if (_byEngine.TryGetValue(engine, out GapReport? missing))
            {
                return Text(missing);
            }

            if (!_scan.Engines.Any(e => e.Name == engine && e.Fault is null))
            {
                return $"the engine {engine} did not take part";
            }

            if (engine == Vmsweep.Signatures.Yara.YaraRules.EngineName && _scan.Rules is { } rules && rules.IdOf(ns, rule) is null)
            {
                return "its rule was not in use";
            }
        }

        return inside.Count > 0 && !_scan.Depth.Archives ? "archives were not opened"
            : inside.Count > 0 && _archives is not null ? Text(_archives)
            : WhyUnread(path, inside);
    }

    /// <summary>Why the scan cannot tell that a content is not there any more; null when it can.</summary>
    public string? WhyUnseen(string path) => _unlisted.Contains(FirstOf(path)) ? "contents that did not change are not listed" : WhyUnread(path, []);

    private string? WhyUnread(string path, IReadOnlyList<string> inside)
    {
        if (_whole is not null)
        {
            return Text(_whole);
        }

        string first = FirstOf(path);
        if (first == MemoryScan.Id)
        {
            if (_scan.Target.Memory is not { IsScanned: true })
            {
                return "there was no memory to read";
            }
        }
        else if (_scan.Target.Disks.Count == 0 || _scan.Target.Disks.Exists(d => d.Scheme.Length == 0))
        {
            return "not every disk was opened";
        }
        else if (IsVolume(first) && !_volumes.Contains(first))
        {
            return $"the volume {first} was not there";
        }

        if (first == MemoryScan.Id && _memory is not null)
        {
            // What was at one address lies at another next time.
            return Text(_memory);
        }

        if (path.Contains("/$Deleted/", StringComparison.Ordinal) && !_scan.Depth.Deleted)
        {
            return "deleted files were not looked for";
        }

        // A gap at a folder covers what is below it, one at a file its streams.
        for (int end = path.Length; end > 0; end = path.AsSpan(0, end).LastIndexOfAny('/', ':'))
        {
            if (_byPath.TryGetValue(path[..end], out List<GapReport>? gaps) && gaps.Find(g => end < path.Length || Covers(g.Inside ?? [], inside)) is { } gap)
            {
                return Text(gap);
            }
        }

        return null;
    }

    /// <summary>True when what a gap is in is what a finding is in, or on the way there.</summary>
    private static bool Covers(IReadOnlyList<string> gap, IReadOnlyList<string> finding) =>
        gap.Count <= finding.Count && gap.SequenceEqual(finding.Take(gap.Count), StringComparer.Ordinal);

    /// <summary>False for names of the host's: the image, the VM.</summary>
    private bool IsOfGuest(string path) => !Path.IsPathRooted(path) && !path.Contains("://", StringComparison.Ordinal) && path != _scan.Target.Target
        && (IsVolume(FirstOf(path)) || FirstOf(path) == MemoryScan.Id || IsArea(path));

    /// <summary><c>v2</c>, <c>d1v2</c>, <c>v2@STATE</c>.</summary>
    private static bool IsVolume(string first)
    {
        ReadOnlySpan<char> left = first;
        if (left.StartsWith('d'))
        {
            left = left[1..].TrimStart("0123456789");
        }

        return left.Length > 1 && left[0] == 'v' && char.IsAsciiDigit(left[1]) && left[1..].TrimStart("0123456789") is [] or ['@', ..];
    }

    /// <summary>What lies outside volumes is called <c>WHERE/NAME@OFFSET</c>.</summary>
    private static bool IsArea(string path)
    {
        int at = path.LastIndexOf('@');
        return at > 0 && path.IndexOf('/', StringComparison.Ordinal) is var slash && slash > 0 && slash < at && path.AsSpan(slash + 1).IndexOf('/') < 0
            && at + 1 < path.Length && !path.AsSpan(at + 1).ContainsAnyExceptInRange('0', '9');
    }

    private static string FirstOf(string path) => path.IndexOf('/', StringComparison.Ordinal) is var slash && slash < 0 ? path : path[..slash];

    private static string Text(GapReport gap) => $"not read: {gap.Fault}: {gap.Path}: {gap.Structure}: {gap.Detail}";
}
