using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Language;
using Vmsweep.Signatures.Yara.Routing;

namespace Vmsweep.Signatures.Yara;

/// <summary>The rules of a run before they are compiled: all of them, or those that are not known yet.</summary>
public sealed class RuleCompiler
{
    private readonly RuleProgram _program;
    private readonly YaraOptions _options;
    private readonly ICollection<RuleFault> _faults;

    private RuleCompiler(RuleProgram program, YaraOptions options, ICollection<RuleFault> faults)
    {
        _program = program;
        _options = options;
        _faults = faults;
    }

    /// <summary>
    /// The rules in use, in the order of reports. That a rule does not compile is known when it was compiled: it is then left out, and rules
    /// that it was global for have other ids.
    /// </summary>
    public IReadOnlyList<RuleIdentity> Rules => [.. RuleIdentities.Of(_program).Values];

    public EngineFacts Facts => new(YaraRules.EngineName, LibYara.Initialize(), _program.Units.Count(u => u.Fault is null), _program.Bundle);

    /// <summary>A rule asks what time it is, so that equal contents may match otherwise tomorrow.</summary>
    public bool AsksTime => _program.Units.Any(u => u.Names.Contains("time"));

    /// <summary>The file that libyara was loaded from; empty when the system does not say.</summary>
    public static string LibraryFile => LibYara.LoadedFrom();

    /// <param name="files">In the order in which matches are reported.</param>
    /// <param name="faults">Errors and warnings, each with file and line, also those that compiling finds.</param>
    /// <exception cref="YaraException">libyara is missing or another version.</exception>
    public static RuleCompiler Read(IEnumerable<RuleFile> files, YaraOptions options, ICollection<RuleFault> faults)
    {
        LibYara.Initialize();
        return new RuleCompiler(RuleProgram.Read(files, faults), options, faults);
    }

    /// <summary>Compiles the rules that are wanted, with what they refer to. What does not compile is left out and told of.</summary>
    public YaraRules Compile(Func<RuleIdentity, bool> isWanted, CancellationToken cancellation = default)
    {
        Dictionary<RuleUnit, RuleIdentity> identities = RuleIdentities.Of(_program);
        List<RuleUnit> units = [.. identities.Keys];
        for (int i = 0; i < units.Count; i++)
        {
            units[i].Ordinal = i;
        }

        units.RemoveAll(u => !isWanted(identities[u]));
        RoutePlan plan = _options.Routing ? RoutePlan.Make(units) : RoutePlan.Whole(units);
        var compiler = new RuleSetCompiler(_program, _faults);
        var compiled = new RuleSet?[plan.Sets.Count];
        try
        {
            var parallel = new ParallelOptions { CancellationToken = cancellation, MaxDegreeOfParallelism = Environment.ProcessorCount };
            Parallel.For(0, compiled.Length, parallel, i => compiled[i] = compiler.Compile(plan.Sets[i], cancellation));
        }
        catch
        {
            Array.ForEach(compiled, s => s?.Dispose());
            throw;
        }

        RuleSet[] wholes = CompileWholes(plan, compiler, compiled, cancellation);
        List<RuleSet> sets = [];
        List<int> setOfRule = [];
        List<Need> needs = [];
        for (int i = 0; i < compiled.Length; i++)
        {
            if (compiled[i] is not { } set)
            {
                continue;
            }

            // Private rules are never reported: they are decided where another rule refers to them.
            foreach (RuleUnit unit in plan.Sets[i].Where(u => u is { Fault: null, IsPrivate: false }))
            {
                setOfRule.Add(sets.Count);
                needs.Add(plan.Needs[unit]);
            }

            sets.Add(set);
        }

        EngineFacts facts = Facts with { Rules = units.Count(u => u.Fault is null) };
        return new YaraRules(facts, [.. sets], wholes, [.. setOfRule], MakePrefilter(needs), _options);
    }

    /// <summary>After the sets, so that what does not compile is known and left out already.</summary>
    private static RuleSet[] CompileWholes(RoutePlan plan, RuleSetCompiler compiler, RuleSet?[] sets, CancellationToken cancellation)
    {
        var wholes = new RuleSet?[plan.Wholes.Count];
        try
        {
            var parallel = new ParallelOptions { CancellationToken = cancellation, MaxDegreeOfParallelism = Environment.ProcessorCount };
            Parallel.For(0, wholes.Length, parallel, i => wholes[i] = compiler.Compile(plan.Wholes[i], cancellation));
        }
        catch
        {
            Array.ForEach(sets, s => s?.Dispose());
            Array.ForEach(wholes, s => s?.Dispose());
            throw;
        }

        if (Array.TrueForAll(wholes, w => w is not null))
        {
            return wholes!;
        }

        Array.ForEach(wholes, s => s?.Dispose());
        return [];
    }

    private static Prefilter MakePrefilter(List<Need> needs)
    {
        Dictionary<(string, string, int, int), int> numbers = [];
        List<Literal> literals = [];
        var codes = new NeedCode[needs.Count];
        for (int rule = 0; rule < codes.Length; rule++)
        {
            codes[rule] = NeedCode.Of(needs[rule], literal =>
            {
                (string, string, int, int) key = (Convert.ToHexString(literal.Bytes), Convert.ToHexString(literal.Mask), literal.CoreStart, literal.CoreLength);
                if (!numbers.TryGetValue(key, out int number))
                {
                    numbers.Add(key, number = literals.Count);
                    literals.Add(literal);
                }

                return number;
            });
        }

        return new Prefilter([.. literals], codes);
    }
}
