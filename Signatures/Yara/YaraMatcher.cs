using System.Diagnostics;
using System.Text;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Routing;

namespace Vmsweep.Signatures.Yara;

/// <summary>Matches contents one after another with libyara, on one thread.</summary>
internal sealed class YaraMatcher : IMatcher
{
    /// <summary>Scanners that stay open: the others are made when they are needed, for libyara keeps the memory of its worst content.</summary>
    private const int MostOpen = 8;

    private readonly YaraRules _rules;
    private readonly YaraOptions _options;
    private readonly NativeScanner?[] _scanners;
    private readonly RouteCosts _costs;
    private readonly PrefilterMarks _marks;
    private readonly List<int> _candidates = [];
    private readonly List<int> _sets = [];
    private readonly List<(int Ordinal, Detection Detection)> _found = [];
    private int _open;

    public YaraMatcher(YaraRules rules, YaraOptions options)
    {
        _rules = rules;
        _options = options;
        _scanners = new NativeScanner?[rules.Sets.Length + rules.Wholes.Length];
        _costs = new RouteCosts(rules.Sets.Length, rules.Wholes.Length);
        _marks = new PrefilterMarks(rules.Prefilter.Literals.Count, rules.SetOfRule.Length);
    }

    public MatchFault? Match(ReadOnlySpan<byte> content, in ContentFacts facts, List<Detection> found, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        long started = Stopwatch.GetTimestamp();
        _candidates.Clear();
        _found.Clear();
        _sets.Clear();
        int kind = ContentKind.Of(content).Number;
        bool isRouted = !_costs.IsWholeFirst(kind);
        if (!isRouted)
        {
            _sets.Add(_rules.Sets.Length + kind);
        }
        else
        {
            if (!_rules.Prefilter.Find(content, _marks, _candidates, () => cancellation.IsCancellationRequested || Left(started) <= TimeSpan.Zero))
            {
                cancellation.ThrowIfCancellationRequested();
                return TimedOut();
            }

            foreach (int rule in _candidates)
            {
                int set = _rules.SetOfRule[rule];
                if (!_sets.Contains(set))
                {
                    _sets.Add(set);
                }
            }

            if (_costs.IsWholeCheaper(kind, _sets))
            {
                _sets.Clear();
                _sets.Add(_rules.Sets.Length + kind);
            }
        }

        MatchFault? fault = null;
        foreach (int set in _sets)
        {
            TimeSpan left = Left(started);
            if (left <= TimeSpan.Zero)
            {
                fault = TimedOut();
                break;
            }

            fault = Scan(set, content, facts, (int)Math.Ceiling(left.TotalSeconds), cancellation) ?? fault;
            if (fault?.Kind == MatchFaultKind.Timeout)
            {
                break;
            }
        }

        if (isRouted)
        {
            _costs.LearnRouting(kind, content.Length, Stopwatch.GetElapsedTime(started));
        }

        _found.Sort((a, b) => a.Ordinal.CompareTo(b.Ordinal));
        foreach ((_, Detection detection) in _found)
        {
            found.Add(detection);
        }

        return fault;
    }

    public void Dispose()
    {
        for (int i = 0; i < _scanners.Length; i++)
        {
            _scanners[i]?.Dispose();
            _scanners[i] = null;
        }
    }

    private MatchFault? Scan(int index, ReadOnlySpan<byte> content, in ContentFacts facts, int seconds, CancellationToken cancellation)
    {
        RuleSet set = index < _rules.Sets.Length ? _rules.Sets[index] : _rules.Wholes[index - _rules.Sets.Length];
        NativeScanner scanner = _scanners[index] ?? set.Rules.CreateScanner();
        bool kept = _scanners[index] is not null || _open < MostOpen || index >= _rules.Sets.Length;
        if (kept && _scanners[index] is null)
        {
            _scanners[index] = scanner;
            _open++;
        }

        try
        {
            Define(scanner, set.UsedExternals, content, facts);
            long started = Stopwatch.GetTimestamp();
            MatchFault? fault = scanner.Scan(content, seconds, _options.MostMatches, _found, set.Ordinals, cancellation);
            _costs.LearnSet(index, content.Length, Stopwatch.GetElapsedTime(started));
            return fault;
        }
        finally
        {
            if (!kept)
            {
                scanner.Dispose();
            }
        }
    }

    private static void Define(NativeScanner scanner, int used, ReadOnlySpan<byte> content, in ContentFacts facts)
    {
        for (int i = 0; used >> i != 0; i++)
        {
            if ((used >> i & 1) != 0)
            {
                string? value = i switch
                {
                    0 => facts.FileName,
                    1 => facts.FilePath,
                    2 => facts.Extension,
                    3 => facts.FileType ?? FileTypes.Of(content),
                    _ => facts.Owner,
                };
                scanner.Define(RuleSet.Externals[i], [.. Encoding.UTF8.GetBytes(value ?? ""), 0]);
            }
        }
    }

    private TimeSpan Left(long started) => _options.Timeout - Stopwatch.GetElapsedTime(started);

    private MatchFault TimedOut() => new(MatchFaultKind.Timeout, YaraRules.EngineName, "", $"not matched within {_options.Timeout.TotalSeconds:0} s");
}
