namespace Vmsweep.Signatures.Hashes;

/// <summary>What it means that a content's hash is in a set. Written into the compiled file, so that one is never taken for the other.</summary>
public enum HashSetKind
{
    /// <summary>Known malware: a detection.</summary>
    Bad = 1,

    /// <summary>Known software: the content need not be matched.</summary>
    KnownGood = 2,
}
