namespace Vmsweep.Appliance.Results;

/// <summary>A content that a scan met, and where.</summary>
/// <param name="Sha256">Its digest.</param>
/// <param name="Path">The first of its names, in the contract's escaped form; a longer one than <see cref="MostPath"/> is cut.</param>
internal sealed record SeenContent(byte[] Sha256, long SizeBytes, string Path)
{
    public const int MostPath = 1024;

    /// <summary>Of one VM: some ten times what a large installation has.</summary>
    public const int MostOfMachine = 200_000;
}
