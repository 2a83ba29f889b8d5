using Vmsweep.Signatures.Matching;
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

    /// <summary>How many rules a content can only match when it holds one of their literals: the others are tried by head and size alone.</summary>
    public (int Triggered, int Always, int Sets, int Literals) Routes =>
        (Prefilter.Needs.Count(n => !n.HoldsWithoutLiterals), Prefilter.Needs.Count(n => n.HoldsWithoutLiterals), Sets.Length, Prefilter.Literals.Count);

    internal RuleSet[] Sets { get; }

    /// <summary>By <see cref="ContentKind.Number"/> every rule that content of this kind may match, for content that many sets may match; empty with few sets.</summary>
    internal RuleSet[] Wholes { get; }

    internal int[] SetOfRule { get; }

    internal Prefilter Prefilter { get; }

    /// <summary>Where the sets are loaded from; null where all of them are.</summary>
    internal Stream? Source { get; init; }

    /// <summary>Compiles rules. What does not compile is left out and told of; the rest is in use.</summary>
    /// <param name="files">In the order in which matches are reported.</param>
    /// <param name="faults">Errors and warnings, each with file and line. With strict rules the caller refuses any that is no warning.</param>
    /// <exception cref="YaraException">libyara is missing or another version.</exception>
    public static YaraRules Compile(IEnumerable<RuleFile> files, YaraOptions options, ICollection<RuleFault> faults, CancellationToken cancellation = default) =>
        RuleCompiler.Read(files, options, faults).Compile(_ => true, cancellation);

    /// <summary>Writes the compiled rules, for another process to load.</summary>
    public void Save(Stream stream) => RulesFile.Write(this, stream);

    /// <summary>Loads what <see cref="Save"/> wrote. Only from this product's own supervisor: libyara does not defend itself against forged rules.</summary>
    /// <param name="stream">Taken over when nothing is thrown: it is read when a content needs rules of which none did before. It must be able to seek.</param>
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
        Source?.Dispose();
    }
}
