namespace Vmsweep.DiskReaders.Containers;

/// <summary>A file inside a tar archive.</summary>
/// <param name="Name">As the archive has it. Guest-controlled text.</param>
/// <param name="Kind">What it is.</param>
/// <param name="OffsetBytes">Where its bytes begin in the archive.</param>
/// <param name="SizeBytes">How many bytes it says it has.</param>
/// <param name="StoredBytes">How many of them the archive has: fewer only in the last member of one that was cut off.</param>
public sealed record TarMember(string Name, TarMemberKind Kind, long OffsetBytes, long SizeBytes, long StoredBytes);

/// <summary>What an archive's member is.</summary>
public enum TarMemberKind
{
    /// <summary>A file whose bytes lie in the archive as they are.</summary>
    Regular,

    /// <summary>A file whose bytes lie in the archive with their holes left out, which no reader here puts back.</summary>
    Sparse,

    /// <summary>Folder, link, device: it has no bytes.</summary>
    Other,
}
