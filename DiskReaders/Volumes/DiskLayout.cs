using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>A partition as its table describes it.</summary>
/// <param name="Scheme"><c>mbr</c> or <c>gpt</c>; <c>none</c> for a disk without a table.</param>
/// <param name="Number">The table's own number of the partition, from 1.</param>
/// <param name="OffsetBytes">First byte on the disk.</param>
/// <param name="SizeBytes">Length.</param>
/// <param name="TypeName">The type as text: an MBR type such as <c>0x07</c> or a GPT type GUID, with its common name where known.</param>
/// <param name="Label">The GPT partition name; empty otherwise. Guest text.</param>
public sealed record Partition(string Scheme, int Number, long OffsetBytes, long SizeBytes, string TypeName, string Label)
{
    /// <summary>
    /// What guests know the partition by, in the form of Linux's PARTUUID: the GPT UniquePartitionGUID, or the disk signature of the MBR
    /// and the partition's number, both in hexadecimal, as <c>90a1b2c3-01</c>. Of a volume that was assembled or unlocked that of the
    /// partition in whose place it stands. Empty where there is none.
    /// </summary>
    public string Id { get; init; } = "";
}

/// <summary>Bytes of a disk that belong to no partition but may carry code or hide data.</summary>
/// <param name="Name">What it is: <c>mbr</c>, <c>ebr</c>, <c>gpt-header</c>, <c>gap</c>.</param>
public sealed record DiskArea(string Name, long OffsetBytes, long SizeBytes);

/// <summary>What a disk's partition table says.</summary>
/// <param name="Scheme"><c>mbr</c>, <c>gpt</c>, or <c>none</c>: the whole disk is one volume.</param>
/// <param name="Partitions">By offset, then number. Empty with scheme <c>none</c>.</param>
/// <param name="Areas">All bytes outside partitions, without overlap, by offset.</param>
public sealed record DiskLayout(string Scheme, IReadOnlyList<Partition> Partitions, IReadOnlyList<DiskArea> Areas);
