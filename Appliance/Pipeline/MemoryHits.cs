using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.GuestMemory.Systems;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// What matched in memory, until all of it was matched: only then it is worth looking for the processes. A rule makes one finding for each
/// process in whose memory its strings lie. Safe for many threads.
/// </summary>
internal sealed class MemoryHits
{
    /// <summary>String matches of all rules together.</summary>
    public const int MostMatches = 100_000;

    private const int MostMatchesOfFinding = 1000;
    private const int PageBytes = 4096;
    private const string Unknown = "unknown";

    private readonly Lock _lock = new();
    private readonly Dictionary<(string Engine, string Namespace, string Rule, string? Area), Hit> _hits = [];
    private int _count;

    /// <summary>There were more.</summary>
    public bool IsCutShort { get; private set; }

    /// <summary>Physical pages with a match.</summary>
    public IEnumerable<long> Pages => _hits.Where(h => h.Key.Area is null).SelectMany(h => h.Value.Matches).Select(m => PageOf(m.Offset)).Distinct();

    public void Add(MemoryWindow window, Detection detection)
    {
        lock (_lock)
        {
            var key = (detection.Engine, detection.Namespace, detection.Rule, window.Area);
            if (!_hits.TryGetValue(key, out Hit? hit))
            {
                _hits.Add(key, hit = new Hit(detection));
            }

            // A rule without strings matches the window as such.
            IEnumerable<StringMatch> matches = detection.Matches.Count > 0 ? detection.Matches : [new StringMatch("", 0, 0)];
            foreach (StringMatch match in matches)
            {
                if (_count >= MostMatches)
                {
                    IsCutShort = true;
                    return;
                }

                // What lies in two windows is found twice.
                _count += hit.Matches.Add(match with { Offset = window.Start + match.Offset }) ? 1 : 0;
            }
        }
    }

    /// <summary>The findings, in the order of their addresses.</summary>
    /// <param name="mapped">By physical page, where it is mapped.</param>
    public IEnumerable<FindingReport> Findings(IReadOnlyDictionary<long, IReadOnlyList<MappedPage>> mapped) =>
        _hits.SelectMany(h => h.Value.Matches
                .GroupBy(m => h.Key.Area is null && mapped.TryGetValue(PageOf(m.Offset), out IReadOnlyList<MappedPage>? places) ? (places[0].Process, places[0].IsKernel) : ((GuestProcess, bool)?)null)
                .Select(g => Finding(h.Value.Detection, h.Key.Area, [.. g.OrderBy(m => m.Offset).ThenBy(m => m.Id, StringComparer.Ordinal)], mapped)))
            .OrderBy(f => f.Matches.Count > 0 ? f.Matches[0].Offset : 0)
            .ThenBy(f => f.Rule, StringComparer.Ordinal);

    private static FindingReport Finding(Detection detection, string? area, List<StringMatch> matches, IReadOnlyDictionary<long, IReadOnlyList<MappedPage>> mapped)
    {
        StringMatch first = matches[0];
        long end = matches.Max(m => m.Offset + m.Length);
        IReadOnlyList<MappedPage> places = area is null ? mapped.GetValueOrDefault(PageOf(first.Offset), []) : [];
        string physical = area is null ? Hex((ulong)first.Offset) : Unknown;
        FindingReport finding = FindingReports.Of(new VerdictFinding(detection), [MemoryWindow.PathOf(area, first.Offset)], end - first.Offset, "");
        return finding with
        {
            Matches = [.. matches.Where(m => m.Id.Length > 0).Take(MostMatchesOfFinding).Select(m => new MatchReport(m.Id, m.Offset, m.Length) { VirtualAddress = Virtual(m) })],
            Memory = places.Count == 0
                ? new MemoryPlace(physical, Unknown, Unknown, null)
                : new MemoryPlace(physical, Hex(Address(places[0], first.Offset)), places[0].Process.Name, places[0].Process.Pid)
                {
                    AlsoIn = places.Count > 1 ? [.. places.Skip(1).Select(p => new MemoryMapping(Hex(Address(p, first.Offset)), p.Process.Name, p.Process.Pid))] : null,
                },
        };

        string? Virtual(StringMatch match) =>
            area is null && mapped.TryGetValue(PageOf(match.Offset), out IReadOnlyList<MappedPage>? of) ? Hex(Address(of[0], match.Offset)) : null;
    }

    private static ulong Address(MappedPage page, long physical) => page.Address + (ulong)(physical % PageBytes);

    private static long PageOf(long address) => address - (address % PageBytes);

    private static string Hex(ulong address) => "0x" + address.ToString("x", CultureInfo.InvariantCulture);

    private sealed record Hit(Detection Detection)
    {
        public HashSet<StringMatch> Matches { get; } = [];
    }
}
