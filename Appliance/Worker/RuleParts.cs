using System.Text.Json;
using Vmsweep.Appliance.Results;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// The rules of a run, compiled in two parts: those that follow from content alone, whose verdicts are remembered, and those that ask for
/// more, which are always run. Where all but a few are compiled already, only the few are compiled.
/// </summary>
internal sealed class RuleParts : IDisposable
{
    /// <summary>So many rules are always worth being compiled apart; of a larger set a quarter is.</summary>
    private const int FewRules = 50;

    private RuleParts(RuleCompiler compiler, int @base, IReadOnlyList<RuleIdentity> own, YaraRules? content, YaraRules? @volatile)
    {
        Compiler = compiler;
        Base = @base;
        Own = own;
        Content = content;
        Volatile = @volatile;
    }

    public RuleCompiler Compiler { get; }

    private int Base { get; }

    /// <summary>The rules that the two parts hold.</summary>
    private IReadOnlyList<RuleIdentity> Own { get; }

    private YaraRules? Content { get; }

    private YaraRules? Volatile { get; }

    /// <param name="compiled">Sets of ids that are compiled already.</param>
    public static RuleParts Compile(RuleCompiler compiler, IReadOnlyList<byte[]> compiled)
    {
        IReadOnlyList<RuleIdentity> rules = compiler.Rules;
        int @base = -1;
        HashSet<UInt128> known = [];
        int fewest = Worthwhile(rules.Count);
        for (int i = 0; i < compiled.Count; i++)
        {
            HashSet<UInt128> set = RuleIds.Unpack(compiled[i]);
            int missing = rules.Count(r => !set.Contains(r.Id));
            int removed = set.Count - (rules.Count - missing);
            if (missing <= fewest && removed <= Worthwhile(rules.Count))
            {
                (@base, known, fewest) = (i, set, missing - 1);
            }
        }

        while (true)
        {
            List<RuleIdentity> own = [.. rules.Where(r => !known.Contains(r.Id))];
            HashSet<RuleIdentity> wanted = [.. own];
            YaraRules? content = wanted.Any(r => !r.IsVolatile) ? compiler.Compile(r => wanted.Contains(r) && !r.IsVolatile) : null;
            YaraRules? @volatile = wanted.Any(r => r.IsVolatile) ? compiler.Compile(r => wanted.Contains(r) && r.IsVolatile) : null;

            // A rule that is left out is global for others or referred to by them: those are other rules now, and some may be missing.
            rules = compiler.Rules;
            List<RuleIdentity> left = [.. rules.Where(r => !known.Contains(r.Id))];
            if (left.TrueForAll(wanted.Contains))
            {
                return new RuleParts(compiler, @base, left, content, @volatile);
            }

            content?.Dispose();
            @volatile?.Dispose();
            if (left.Count > Worthwhile(rules.Count))
            {
                (@base, known) = (-1, []);
            }
        }
    }

    /// <summary>Writes all parts and says where they lie.</summary>
    /// <param name="decided">Sets of ids that verdicts were made with.</param>
    public CompiledRules Write(DataStream data, IReadOnlyList<byte[]> decided)
    {
        IReadOnlyList<RuleIdentity> rules = Compiler.Rules;
        List<RuleIdentity> decisive = [.. rules.Where(r => r is { IsPrivate: false, IsVolatile: false })];
        DataPart index = Put(data, () => JsonSerializer.Serialize(data, [.. rules], MessageJson.Default.ListRuleIdentity));
        DataPart content = Put(data, () => Content?.Save(data));
        DataPart @volatile = Put(data, () => Volatile?.Save(data));
        HashSet<UInt128> own = [.. Own.Where(r => r is { IsPrivate: false, IsVolatile: false }).Select(r => r.Id)];
        List<DataPart?> added = [];
        foreach (byte[] set in decided)
        {
            HashSet<UInt128> before = RuleIds.Unpack(set);
            HashSet<UInt128> more = [.. decisive.Where(r => !before.Contains(r.Id)).Select(r => r.Id)];
            added.Add(more.Count == 0 ? default(DataPart)
                : more.Count > Worthwhile(rules.Count) ? null
                : Base >= 0 && more.SetEquals(own) ? content
                : Put(data, () =>
                {
                    using YaraRules only = Compiler.Compile(r => !r.IsPrivate && !r.IsVolatile && more.Contains(r.Id));
                    only.Save(data);
                }));
        }

        return new CompiledRules(RuleIds.Pack(rules.Select(r => r.Id)), RuleIds.Pack(decisive.Select(r => r.Id)), Base, new CompiledParts(index, content, @volatile), added, RuleCompiler.LibraryFile) { AsksTime = Compiler.AsksTime };
    }

    public void Dispose()
    {
        Content?.Dispose();
        Volatile?.Dispose();
    }

    /// <summary>True when so few rules were added to a set that it is worth compiling them by themselves.</summary>
    public static bool IsWorthwhile(HashSet<UInt128> rules, HashSet<UInt128> before) => rules.Count(r => !before.Contains(r)) <= Worthwhile(rules.Count);

    private static int Worthwhile(int rules) => Math.Max(FewRules, rules / 4);

    private static DataPart Put(DataStream data, Action write)
    {
        long start = data.Length;
        write();
        return new DataPart(start, data.Length - start);
    }
}
