using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>
/// Says which rules a content may match. Sieves find the few literals of which one must be there for a rule to match; of the rules so
/// touched, the rest of their need is looked up literal by literal. Immutable; a thread's marks are in its <see cref="PrefilterMarks"/>.
/// </summary>
internal sealed unsafe class Prefilter
{
    /// <summary>What all sieves go through before the next part, so that it is read from memory once.</summary>
    private const int PartBytes = 64 << 10;

    private const int PartsBetweenClock = 16;

    private readonly Literal[] _literals;
    private readonly NeedCode[] _codes;
    private readonly Lazy<Dictionary<Literal, int>> _numbers;

    /// <summary>Made when the first content of the kind comes: a worker that has little to match meets few of them, and each costs it more than its start.</summary>
    private readonly Lazy<Kind>[] _kinds;

    /// <param name="literals">Each once.</param>
    /// <param name="needs">By rule, of the literals by number.</param>
    public Prefilter(Literal[] literals, NeedCode[] needs)
    {
        _literals = literals;
        _codes = needs;
        _numbers = new(() => literals.Index().ToDictionary(l => l.Item, l => l.Index, (IEqualityComparer<Literal>)ReferenceEqualityComparer.Instance));
        _kinds = [.. Enumerable.Range(0, ContentKind.Count).Select(i => new Lazy<Kind>(() => Make(ContentKind.FromNumber(i))))];
    }

    public IReadOnlyList<Literal> Literals => _literals;

    public IReadOnlyList<NeedCode> Needs => _codes;

    /// <summary>Adds to <paramref name="rules"/> every rule that the content may match.</summary>
    /// <returns>False when the time was over first.</returns>
    public bool Find(ReadOnlySpan<byte> content, PrefilterMarks marks, List<int> rules, Func<bool> timeIsOver)
    {
        marks.Clear();
        Kind kind = _kinds[ContentKind.Of(content).Number].Value;
        fixed (byte* start = content)
        {
            int parts = 0;
            for (long from = 0; from < content.Length; from += PartBytes)
            {
                if (++parts % PartsBetweenClock == 0 && timeIsOver())
                {
                    return false;
                }

                foreach (Sieve sieve in kind.Sieves)
                {
                    sieve.Scan(start, (int)from, (int)Math.Min(from + PartBytes, content.Length), content, marks);
                }
            }
        }

        var search = new LiteralSearch(_literals, content, marks);
        foreach (int rule in kind.Always)
        {
            if (_codes[rule].Holds(ref search))
            {
                rules.Add(rule);
            }
        }

        foreach (int rule in marks.Touched(kind.Owners))
        {
            if (_codes[rule].Holds(ref search))
            {
                rules.Add(rule);
            }
        }

        return true;
    }

    private Kind Make(ContentKind kind)
    {
        Dictionary<Literal, int> numbers = _numbers.Value;
        List<int> always = [];
        Dictionary<int, List<int>> owners = [];
        for (int rule = 0; rule < _codes.Length; rule++)
        {
            Need need = kind.Narrow(_codes[rule].ToNeed(Wrap));
            if (need.Kind == NeedKind.Nothing)
            {
                continue;
            }

            if (Trigger.Of(need) is not { } triggers)
            {
                always.Add(rule);
                continue;
            }

            foreach (Literal literal in triggers)
            {
                int number = numbers[literal];
                if (!owners.TryGetValue(number, out List<int>? rules))
                {
                    owners.Add(number, rules = []);
                }

                rules.Add(rule);
            }
        }

        List<Sieve> sieves = [];
        int longest = int.MaxValue;
        foreach (SieveClass shape in SieveClass.All)
        {
            List<int> chosen = [.. owners.Keys.Where(i => _literals[i].CoreLength >= shape.Least && _literals[i].CoreLength < longest).Order()];
            longest = shape.Least;
            if (chosen.Count > 0)
            {
                sieves.Add(new Sieve(shape, _literals, chosen));
            }
        }

        int[][] byLiteral = new int[_literals.Length][];
        foreach ((int number, List<int> rules) in owners)
        {
            byLiteral[number] = [.. rules];
        }

        return new Kind([.. sieves], byLiteral, [.. always]);

        StringLiteral Wrap(int[] numbers) => new("", Array.ConvertAll(numbers, n => _literals[n]));
    }

    /// <param name="Owners">By literal: the rules that it touches; null where it is not looked for.</param>
    /// <param name="Always">Rules that may match without a literal.</param>
    private sealed record Kind(Sieve[] Sieves, int[][] Owners, int[] Always);
}

/// <summary>Looks for single literals in one content, each once and only so many of them.</summary>
internal ref struct LiteralSearch(Literal[] literals, ReadOnlySpan<byte> content, PrefilterMarks marks)
{
    /// <summary>Beyond this many a rule counts as touched: libyara decides it in less time than more searches take.</summary>
    private const int MostSearches = 48;

    private int _left = MostSearches;

    public readonly ReadOnlySpan<byte> Content { get; } = content;

    /// <summary>False only when the literal is not in the content.</summary>
    public bool MayHave(int literal)
    {
        if (marks.Has(literal))
        {
            return true;
        }

        if (marks.Lacks(literal))
        {
            return false;
        }

        if (_left-- <= 0)
        {
            return true;
        }

        bool found = literals[literal].IsIn(Content);
        marks.Note(literal, found);
        return found;
    }
}

/// <summary>Which literals one content holds and which rules that concerns. For one thread.</summary>
internal sealed class PrefilterMarks(int literals, int rules)
{
    private readonly ulong[] _found = new ulong[(literals + 63) / 64];
    private readonly ulong[] _lacking = new ulong[(literals + 63) / 64];
    private readonly ulong[] _isTouched = new ulong[(rules + 63) / 64];
    private readonly List<int> _noted = [];
    private readonly List<int> _touched = [];
    private int _marked;

    public bool Has(int literal) => (_found[literal >> 6] >> (literal & 63) & 1) != 0;

    public bool Lacks(int literal) => (_lacking[literal >> 6] >> (literal & 63) & 1) != 0;

    /// <summary>Found by a sieve.</summary>
    public void Mark(int literal)
    {
        Note(literal, found: true);
        _marked = _noted.Count;
    }

    public void Note(int literal, bool found)
    {
        (found ? _found : _lacking)[literal >> 6] |= 1UL << (literal & 63);
        _noted.Add(literal);
    }

    /// <summary>Each rule that owns a literal which a sieve found, once.</summary>
    public List<int> Touched(int[][] owners)
    {
        for (int i = 0; i < _marked; i++)
        {
            foreach (int rule in owners[_noted[i]] ?? [])
            {
                ulong bit = 1UL << (rule & 63);
                if ((_isTouched[rule >> 6] & bit) == 0)
                {
                    _isTouched[rule >> 6] |= bit;
                    _touched.Add(rule);
                }
            }
        }

        return _touched;
    }

    public void Clear()
    {
        foreach (int literal in _noted)
        {
            _found[literal >> 6] = 0;
            _lacking[literal >> 6] = 0;
        }

        foreach (int rule in _touched)
        {
            _isTouched[rule >> 6] = 0;
        }

        _noted.Clear();
        _touched.Clear();
        _marked = 0;
    }
}
