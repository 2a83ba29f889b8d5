namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What a reader says of itself, so that help and documentation cannot drift from the code.</summary>
/// <param name="Title">The format's usual name.</param>
/// <param name="Read">What of it is read.</param>
/// <param name="Refused">What of it is refused or only reported, each as a gap; empty when nothing is.</param>
public sealed record FormatSupport(string Title, string Read, string Refused = "");
