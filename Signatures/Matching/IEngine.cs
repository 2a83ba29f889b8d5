namespace Vmsweep.Signatures.Matching;

/// <summary>What a report says of an engine.</summary>
/// <param name="Name">Lower case: <c>yara</c>, <c>clamav</c>, <c>hash</c>.</param>
/// <param name="Version">The engine's own version.</param>
/// <param name="Rules">Rules or list entries in use; those that were left out are not counted.</param>
/// <param name="Bundle">
/// <c>sha256:</c> and the digest over every rule source or list, in order: equal bundles give equal verdicts. Empty where the engine does not say
/// what it matches with: then no verdict of it may be kept for later.
/// </param>
public sealed record EngineFacts(string Name, string Version, int Rules, string Bundle)
{
    /// <summary>How new the signatures are; null where nothing tells.</summary>
    public DateTimeOffset? SignatureDate { get; init; }
}

/// <summary>Compiled signatures, shared by every thread. Immutable after it was made.</summary>
public interface IEngine : IDisposable
{
    EngineFacts Facts { get; }

    /// <summary>
    /// True when a rule refers to <c>filename</c>, <c>filepath</c>, <c>extension</c> or <c>owner</c>, so that a verdict belongs to content
    /// and name together. When false, <see cref="ContentFacts"/> need not be filled and verdicts may be cached by content alone.
    /// </summary>
    bool UsesNames { get; }

    /// <summary>
    /// Whether the engine opens archives itself, and finds what is in a member that came by this way, so that it need not be given it. See
    /// <see cref="Archives.ArchiveWalk.Way"/>.
    /// </summary>
    bool Opens(string way) => false;

    /// <summary>A matcher for one thread.</summary>
    IMatcher CreateMatcher();
}

/// <summary>Matches contents one after another. Belongs to one thread at a time.</summary>
public interface IMatcher : IDisposable
{
    /// <summary>Adds what matches to <paramref name="found"/>.</summary>
    /// <param name="content">The whole content, or one window of it.</param>
    /// <param name="facts">What rules may ask about the content beside its bytes.</param>
    /// <param name="found">Appended to; what was found before a fault stays.</param>
    /// <param name="cancellation">Ends the match where the engine allows; then <see cref="OperationCanceledException"/>.</param>
    /// <returns>Null when every rule was decided; otherwise why not, to be reported as a gap.</returns>
    MatchFault? Match(ReadOnlySpan<byte> content, in ContentFacts facts, List<Detection> found, CancellationToken cancellation);
}

/// <summary>What a rule may ask about content beside its bytes: YARA's external variables. Default: all empty.</summary>
/// <param name="FileName">The last part of the path; YARA <c>filename</c>.</param>
/// <param name="FilePath">The folder and name as the guest writes them; YARA <c>filepath</c>.</param>
/// <param name="Extension">With its dot, in the guest's case; YARA <c>extension</c>.</param>
/// <param name="FileType">Null: the engine asks <see cref="FileTypes"/>; YARA <c>filetype</c>.</param>
/// <param name="Owner">A uid or SID; YARA <c>owner</c>.</param>
public readonly record struct ContentFacts(string? FileName, string? FilePath, string? Extension, string? FileType, string? Owner);
