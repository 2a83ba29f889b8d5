namespace Vmsweep.Signatures.Yara;

/// <summary>What is wrong with a rule source.</summary>
/// <param name="File">The file as it was given; for a built-in file its name.</param>
/// <param name="Line">1 is the first; 0: the whole file.</param>
/// <param name="Rule">The rule that was left out; empty when none or the whole file.</param>
/// <param name="IsWarning">True: the rule is in use all the same.</param>
public sealed record RuleFault(string File, int Line, string Rule, string Message, bool IsWarning)
{
    public override string ToString() => $"{File}({Line}): {(IsWarning ? "warning: " : "")}{(Rule.Length > 0 ? $"rule {Rule}: " : "")}{Message}";
}

/// <summary>A file of rules. All its rules share the namespace.</summary>
/// <param name="File">For messages.</param>
/// <param name="Folder">Where its includes may come from; null: none are allowed.</param>
public sealed record RuleFile(string File, string Namespace, string? Folder, byte[] Text);

/// <summary>How rules are compiled and run.</summary>
public sealed record YaraOptions
{
    /// <summary>For one content, over all its rules.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>Positions kept of one string in one content.</summary>
    public int MostMatches { get; init; } = 1000;

    /// <summary>False: every rule scans every content, as the yara program does. Results are equal; only tests and benchmarks want it.</summary>
    public bool Routing { get; init; } = true;
}
