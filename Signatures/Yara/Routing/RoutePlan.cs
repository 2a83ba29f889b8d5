using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>Which rules are compiled together, and what each needs of content before its set is scanned.</summary>
internal sealed class RoutePlan
{
    /// <summary>Rules of a set that is scanned when a literal of one of them was found: seldom, so small is good.</summary>
    private const int PerSet = 32;

    private const long SmallBytes = 1 << 20;

    /// <summary>With fewer sets than this, scanning each that is needed never costs more than scanning all rules at once.</summary>
    private const int FewSets = 4;

    private RoutePlan(List<List<RuleUnit>> sets, List<List<RuleUnit>> wholes, Dictionary<RuleUnit, Need> needs)
    {
        Sets = sets;
        Wholes = wholes;
        Needs = needs;
    }

    /// <summary>Each rule in one of them.</summary>
    public List<List<RuleUnit>> Sets { get; }

    /// <summary>By <see cref="ContentKind.Number"/>: every rule that content of this kind may match; empty where there are few sets.</summary>
    public List<List<RuleUnit>> Wholes { get; }

    public Dictionary<RuleUnit, Need> Needs { get; }

    public static RoutePlan Make(IEnumerable<RuleUnit> units)
    {
        Dictionary<RuleUnit, Need> needs = [];
        SortedDictionary<int, List<RuleUnit>> always = [];
        List<List<RuleUnit>> sets = [];
        List<RuleUnit>? open = null;
        foreach (RuleUnit unit in units)
        {
            // A rule that may match without any literal is not decided by some of them either.
            bool holdsWithout = unit.Need.HoldsWithoutLiterals;
            Need need = holdsWithout ? unit.Need.Replace(n => n.Kind == NeedKind.Literal ? Need.Anything : n) : unit.Need;
            needs.Add(unit, need);
            if (holdsWithout)
            {
                int kind = HeadKind(need);
                if (!always.TryGetValue(kind, out List<RuleUnit>? group))
                {
                    always.Add(kind, group = []);
                }

                group.Add(unit);
                continue;
            }

            if (open is null || open.Count >= PerSet)
            {
                sets.Add(open = []);
            }

            open.Add(unit);
        }

        List<List<RuleUnit>> all = [.. always.Values, .. sets];
        List<List<RuleUnit>> wholes = all.Count < FewSets
            ? []
            : [.. Enumerable.Range(0, ContentKind.Count).Select(ContentKind.FromNumber).Select(k => needs.Keys.Where(u => k.Narrow(needs[u]).Kind != NeedKind.Nothing).OrderBy(u => u.Ordinal).ToList())];
        return new RoutePlan(all, wholes, needs);
    }

    /// <summary>One set for all, as the yara program has it.</summary>
    public static RoutePlan Whole(IEnumerable<RuleUnit> units)
    {
        List<RuleUnit> all = [.. units];
        return new RoutePlan([all], [], all.ToDictionary(u => u, _ => Need.Anything));
    }

    /// <summary>Rules that look at the same kind of head belong together: programs of Windows, of Linux, other magic, small files.</summary>
    private static int HeadKind(Need need)
    {
        bool Asks(Func<Need, bool> leaf) => need.Replace(n => leaf(n) ? Need.Nothing : Need.Anything).Kind == NeedKind.Nothing;
        return Asks(n => n.Kind == NeedKind.Bytes && n.From == 0 && FileTypes.Program.Fits(n.Value)) ? 1
            : Asks(n => n.Kind == NeedKind.Bytes && n.From == 0 && FileTypes.Elf.Fits(n.Value)) ? 2
            : Asks(n => n.Kind == NeedKind.Bytes) ? 3
            : Asks(n => n.Kind == NeedKind.FileSize && n.To <= SmallBytes) ? 4
            : 0;
    }
}
