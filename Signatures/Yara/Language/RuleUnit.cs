namespace Vmsweep.Signatures.Yara.Language;

/// <summary>One rule of a file, as a text that compiles alone when what it refers to was compiled before it.</summary>
internal sealed class RuleUnit
{
    public required string File { get; init; }

    public required string Namespace { get; init; }

    public required string Name { get; init; }

    /// <summary>The line of its first token.</summary>
    public required int Line { get; init; }

    public required bool IsPrivate { get; init; }

    public required bool IsGlobal { get; init; }

    /// <summary>The whole rule, ended by a zero byte.</summary>
    public required byte[] TextZ { get; init; }

    /// <summary>Every identifier of the condition that stands first in its dotted chain: modules, external variables, other rules, loop variables.</summary>
    public required HashSet<string> Names { get; init; }

    /// <summary>Prefixes of <c>any of (name*)</c>.</summary>
    public required List<string> Prefixes { get; init; }

    /// <summary>What must hold of any content that the rule matches.</summary>
    public required Need Need { get; set; }

    /// <summary>Modules that the condition names.</summary>
    public List<string> Modules { get; } = [];

    /// <summary>Rules before it in its namespace that the condition names.</summary>
    public List<RuleUnit> RefersTo { get; } = [];

    /// <summary>Why it is left out; null while it is in.</summary>
    public RuleFault? Fault { get; set; }

    /// <summary>Its place among all rules that are in use.</summary>
    public int Ordinal { get; set; } = -1;
}
