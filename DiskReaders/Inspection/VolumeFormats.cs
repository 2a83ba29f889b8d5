using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.BitLocker;
using Vmsweep.DiskReaders.Volumes.Ldm;
using Vmsweep.DiskReaders.Volumes.Luks;
using Vmsweep.DiskReaders.Volumes.Lvm2;
using Vmsweep.DiskReaders.Volumes.Md;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>The volume managers and encryptions that are read.</summary>
public static class VolumeFormats
{
    /// <summary>
    /// In the order in which guests stack them, lowest first: what is found inside an unlocked or assembled volume joins its kind when
    /// that kind's turn comes, so that a volume group is made once all of its members have shown up.
    /// </summary>
    public static readonly IReadOnlyList<IVolumeFormat> Readable = [new BitLockerFormat(), new LuksFormat(), new MdFormat(), new LdmFormat(), new Lvm2Format()];

    /// <summary>The format that content is a member of; null when it is of none.</summary>
    public static IVolumeFormat? Of(IBlockSource content) => Readable.FirstOrDefault(f => f.Probe(content));
}
