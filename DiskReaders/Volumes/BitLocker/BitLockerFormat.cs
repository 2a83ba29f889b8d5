using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>
/// BitLocker of Windows Vista, Windows 7 and later, To Go, and used space only. Spec: Metz, "BitLocker Drive Encryption (BDE) format",
/// of the libbde project. Each member is one volume, in its own place.
/// </summary>
public sealed class BitLockerFormat : IVolumeFormat
{
    public string Name => "bitlocker";

    public FormatSupport Support { get; } = new(
        "BitLocker",
        "Vista to Windows 11 and To Go; XTS-AES, AES-CBC with and without diffuser, used-space-only; unlocked by password, recovery key, startup key, clear key or master:HEX",
        "locked volumes, with their protectors; TPM and smart cards; conversion logs");

    public bool Probe(IBlockSource content) => VolumeHeader.Probe(content);

    public VolumeAssembly Assemble(IReadOnlyList<VolumeMember> members, ReadContext context)
    {
        List<AssembledVolume> volumes = [];
        List<MemberArea> leftovers = [];
        try
        {
            for (int i = 0; i < members.Count; i++)
            {
                context.ThrowIfCancelled();
                volumes.Add(new VolumeOpener(members[i], i, leftovers, context).Open());
            }
        }
        catch
        {
            volumes.ForEach(v => v.Dispose());
            throw;
        }

        return new VolumeAssembly(volumes, leftovers);
    }
}
