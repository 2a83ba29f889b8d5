namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;

/// <summary>Where a tree begins.</summary>
/// <param name="Id">The tree's own object id.</param>
/// <param name="Logical">Of the root node.</param>
/// <param name="Generation">That the root node must have; 0 when not known.</param>
internal sealed record TreeRoot(ulong Id, long Logical, int Level, ulong Generation);
