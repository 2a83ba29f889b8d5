using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>A member with what its own bytes say.</summary>
/// <param name="Index">Among those given.</param>
/// <param name="Label">Null when no label is sound, which <paramref name="Fault"/> then explains.</param>
/// <param name="Copies">The groups' texts it keeps that are sound.</param>
/// <param name="Fault">The first thing wrong.</param>
internal sealed record GroupMember(int Index, VolumeMember Member, PhysicalVolume? Label, IReadOnlyList<GroupText> Copies, DiskFormatException? Fault);

/// <summary>A group, by its newest text, and its physical volumes that are there.</summary>
/// <param name="Members">By what the text's segments call them.</param>
internal sealed record FoundGroup(GroupText Text, IReadOnlyDictionary<string, GroupMember> Members);
