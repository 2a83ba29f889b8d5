using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>A disk, partition or assembled volume that is a member of something larger, or encrypted.</summary>
/// <param name="Name">How messages and gaps name it.</param>
/// <param name="Content">Its bytes; not owned.</param>
/// <param name="SectorBytes">Logical sector size of the disk below: 512 or 4096.</param>
public sealed record VolumeMember(string Name, IBlockSource Content, int SectorBytes);

/// <summary>A volume that a volume manager or a key made of members.</summary>
public sealed record AssembledVolume : IDisposable
{
    /// <summary><c>vg0/root</c> for LVM2, the array's or volume's own name otherwise; empty where it has none. Guest text.</summary>
    public required string Name { get; init; }

    /// <summary>How it lies on its members, for people: <c>linear</c>, <c>raid5 of 4, chunks of 512 KiB, degraded</c>, <c>xts-aes-256</c>.</summary>
    public required string Layout { get; init; }

    /// <summary>Index of the member in whose place it stands: the first it lies on.</summary>
    public required int Place { get; init; }

    /// <summary>Its bytes, disposed with it; null when they cannot be read, which <see cref="Fault"/> then explains.</summary>
    public IBlockSource? Content { get; init; }

    /// <summary>Why it cannot be read: a member or a key is missing, or its structures are faulty.</summary>
    public DiskFormatException? Fault { get; init; }

    /// <summary>Things to know that are no gaps, such as a member that parity stands in for.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Logical sector size it shows: that of its members unless it has its own.</summary>
    public int SectorBytes { get; init; } = 512;

    /// <summary>Disposed after <see cref="Content"/>, in order.</summary>
    public IReadOnlyList<IDisposable> Owned { get; init; } = [];

    public void Dispose()
    {
        Content?.Dispose();
        foreach (IDisposable owned in Owned)
        {
            owned.Dispose();
        }
    }
}

/// <summary>Bytes of a member that no volume shows: metadata, free extents, what lies behind the end. They may hide data and are matched.</summary>
/// <param name="Member">Index of the member.</param>
/// <param name="Name">What it is: <c>lvm2-free</c>, <c>md-superblock</c>.</param>
public sealed record MemberArea(int Member, string Name, long OffsetBytes, long SizeBytes);

/// <summary>What members make up together.</summary>
/// <param name="Volumes">One for each volume that is described, readable or not. At least one for each member that was given, unless its group stands in another member's place.</param>
/// <param name="Leftovers">What no volume shows.</param>
public sealed record VolumeAssembly(IReadOnlyList<AssembledVolume> Volumes, IReadOnlyList<MemberArea> Leftovers);

/// <summary>A volume manager or volume encryption: recognises members and makes volumes of them.</summary>
public interface IVolumeFormat
{
    /// <summary>Short name, the scheme of its volumes: <c>lvm2</c>, <c>md</c>, <c>ldm</c>, <c>bitlocker</c>, <c>luks</c>.</summary>
    string Name { get; }

    /// <summary>What is read of it.</summary>
    FormatSupport Support => new(Name, "");

    /// <summary>True when the bytes say that they are a member. Never throws for content.</summary>
    bool Probe(IBlockSource content);

    /// <summary>
    /// Makes the volumes of all members among a VM's disks. A volume that cannot be read is answered with its fault and not thrown;
    /// what is wrong with a member but leaves its volumes readable becomes a gap under the member's name.
    /// </summary>
    /// <param name="members">All that <see cref="Probe"/> accepted, in disk order; those of several groups or arrays together.</param>
    VolumeAssembly Assemble(IReadOnlyList<VolumeMember> members, ReadContext context);
}
