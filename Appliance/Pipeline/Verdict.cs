using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// What matching one content gave, whatever file it is the content of: everything here follows from the bytes, the engines and their
/// limits, so that equal contents have equal verdicts.
/// </summary>
internal sealed record Verdict(IReadOnlyList<VerdictFinding> Findings, IReadOnlyList<VerdictGap> Gaps)
{
    public static readonly Verdict Clean = new([], []);

    /// <summary>Matched to its end: nothing that ran out of time, or failed in a way that another run may not. Only such a verdict is kept.</summary>
    public bool IsSettled { get; init; } = true;

    /// <summary>It was known from an earlier scan, all of it or all but what rules added since say.</summary>
    public bool IsRemembered { get; init; }

    /// <summary>By which ways members came, see <see cref="Signatures.Archives.ArchiveWalk.Way"/>; null where that is not known.</summary>
    public IReadOnlyCollection<string>? Ways { get; init; }

    /// <summary>
    /// Contents inside were looked up in hash lists, or would have been had there been any: it holds only under the same lists. The lists are
    /// asked anew for the content itself whenever a verdict is used.
    /// </summary>
    public bool HangsOnHashLists { get; init; }
}

/// <param name="Inner">The member that matched; null for the content itself.</param>
internal sealed record VerdictFinding(Detection Detection, InnerContent? Inner = null);

/// <summary>Content inside of content: a member of an archive, an attachment.</summary>
/// <param name="Inside">Names from the outermost member to this one. Guest-controlled text.</param>
internal sealed record InnerContent(IReadOnlyList<string> Inside, string Sha256, long SizeBytes);

/// <summary>Something of the content that was not matched. The path is the file's own.</summary>
/// <param name="Offset">From the start of the content or member; -1 where none fits.</param>
/// <param name="Inside">Names from the outermost member to the one concerned; empty for the content itself. Guest-controlled text.</param>
internal sealed record VerdictGap(Fault Fault, string Structure, long Offset, long Bytes, string Detail, IReadOnlyList<string> Inside);
