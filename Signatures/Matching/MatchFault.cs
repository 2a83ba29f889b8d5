namespace Vmsweep.Signatures.Matching;

/// <summary>Why content was not matched to its end.</summary>
public enum MatchFaultKind
{
    /// <summary>The time for one content was over.</summary>
    Timeout,

    /// <summary>A limit of the engine was reached: matches of a string, fibers, stack.</summary>
    Limit,

    /// <summary>An engine in a process of its own was not within reach.</summary>
    Transport,

    /// <summary>Any other error of the engine.</summary>
    Engine,
}

/// <summary>Content that was not matched to its end, for a coverage gap.</summary>
/// <param name="Engine">Which engine.</param>
/// <param name="Rule">The rule at which it stopped; empty when the engine does not say.</param>
public sealed record MatchFault(MatchFaultKind Kind, string Engine, string Rule, string Detail);
