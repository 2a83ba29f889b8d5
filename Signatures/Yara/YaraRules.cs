using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Language;
using Vmsweep.Signatures.Yara.Routing;

namespace Vmsweep.Signatures.Yara;

/// <summary>
/// Compiled YARA rules. They match what the <c>yara</c> program matches with the same rules over the same bytes; only the way there is
/// shorter: a <see cref="Prefilter"/> rules out what cannot match, and libyara decides the rest.
/// </summary>
public sealed class YaraRules : IEngine
{
    public const string EngineName = "yara";

    private const int NameExternals = ~RuleSet.FileTypeBit;

    private readonly YaraOptions _options;

    internal YaraRules(EngineFacts facts, RuleSet[] sets, RuleSet[] wholes, int[] setOfRule, Prefilter prefilter, YaraOptions options)
    {
        Facts = facts;
        Sets = sets;
        Wholes = wholes;
        SetOfRule = setOfRule;
        Prefilter = prefilter;
        _options = options;
        UsesNames = sets.Any(s => (s.UsedExternals & NameExternals) != 0);
    }

    public EngineFacts Facts { get; }

    public bool UsesNames { get; }

    /// <summary>Memory that the compiled rules and their tables take; shared by all matchers.</summary>
    public long CompiledBytes => Sets.Concat(Wholes).Sum(s => s.Rules.Bytes) + Prefilter.Bytes;

    /// <summary>How many rules a content can only match when it holds one of their literals: the others are tried by head and size alone.</summary>
    public (int Triggered, int Always, int Sets, int Literals) Routes =>
        (Prefilter.Needs.Count(n => !n.HoldsWithoutLiterals), Prefilter.Needs.Count(n => n.HoldsWithoutLiterals), Sets.Length, Prefilter.Literals.Count);

    internal RuleSet[] Sets { get; }

    /// <summary>By <see cref="ContentKind.Number"/> every rule that content of this kind may match, for content that many sets may match; empty with few sets.</summary>
    internal RuleSet[] Wholes { get; }

    internal int[] SetOfRule { get; }

    internal Prefilter Prefilter { get; }

    /// <summary>Compiles rules. What does not compile is left out and told of; the rest is in use.</summary>
    /// <param name="files">In the order in which matches are reported.</param>
    /// <param name="faults">Errors and warnings, each with file and line. With strict rules the caller refuses any that is no warning.</param>
    /// <exception cref="YaraException">libyara is missing or another version.</exception>
    public static YaraRules Compile(IEnumerable<RuleFile> files, YaraOptions options, ICollection<RuleFault> faults, CancellationToken cancellation = default)
    {
        LibYara.Initialize();
        RuleProgram program = RuleProgram.Read(files, faults);
        List<RuleUnit> units = [.. program.Units.Where(u => u.Fault is null)];
        for (int i = 0; i < units.Count; i++)
        {
            units[i].Ordinal = i;
        }

        RoutePlan plan = options.Routing ? RoutePlan.Make(units) : RoutePlan.Whole(units);
        var compiler = new RuleSetCompiler(program, faults);
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

        var facts = new EngineFacts(EngineName, LibYara.Initialize(), units.Count(u => u.Fault is null), program.Bundle);
        return new YaraRules(facts, [.. sets], wholes, [.. setOfRule], MakePrefilter(needs), options);
    }

    /// <summary>Writes the compiled rules, for another process to load.</summary>
    public void Save(Stream stream) => RulesFile.Write(this, stream);

    /// <summary>Loads what <see cref="Save"/> wrote. Only from this product's own supervisor: libyara does not defend itself against forged rules.</summary>
    /// <exception cref="YaraException">libyara is missing or another version, or the stream holds something else.</exception>
    public static YaraRules Load(Stream stream, YaraOptions options)
    {
        LibYara.Initialize();
        return RulesFile.Read(stream, options);
    }

    public IMatcher CreateMatcher() => new YaraMatcher(this, _options);

    public void Dispose()
    {
        Array.ForEach(Sets, s => s.Dispose());
        Array.ForEach(Wholes, s => s.Dispose());
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
