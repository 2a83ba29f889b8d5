using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Ldm;

/// <summary>
/// Windows dynamic disks (Logical Disk Manager). Spec: Russon "LDM Documentation" of the Linux-NTFS project. Each disk of a group has the
/// whole group's database; the newest is followed.
/// </summary>
public sealed class LdmFormat : IVolumeFormat
{
    public string Name => "ldm";

    public FormatSupport Support { get; } = new(
        "Windows dynamic disks (LDM)",
        "simple, spanned, striped, mirrored and RAID-5 volumes over several disks, on MBR and GPT; degraded ones",
        "volumes whose disks are missing");

    public bool Probe(IBlockSource content) => PrivateHeader.IsOn(content);

    public VolumeAssembly Assemble(IReadOnlyList<VolumeMember> members, ReadContext context)
    {
        List<AssembledVolume> volumes = [];
        List<MemberArea> leftovers = [];
        List<LdmMember> sound = [];
        try
        {
            for (int i = 0; i < members.Count; i++)
            {
                context.ThrowIfCancelled();
                try
                {
                    sound.Add(new LdmMember(i, members[i], PrivateHeader.Read(members[i], context)));
                }
                catch (DiskFormatException e)
                {
                    volumes.Add(new AssembledVolume { Name = "", Layout = "disk of an unknown group", Place = i, Fault = e, SectorBytes = members[i].SectorBytes });
                    leftovers.Add(new MemberArea(i, "ldm-disk", 0, members[i].Content.Length));
                }
            }

            foreach (IGrouping<Guid, LdmMember> group in sound.GroupBy(m => m.Header.GroupId))
            {
                new LdmGroup([.. group], context, volumes, leftovers).Open();
            }
        }
        catch
        {
            volumes.ForEach(v => v.Dispose());
            throw;
        }

        return new VolumeAssembly([.. volumes.OrderBy(v => v.Place)], leftovers);
    }
}

/// <summary>A dynamic disk.</summary>
/// <param name="Index">Its place among those given.</param>
internal sealed record LdmMember(int Index, VolumeMember Given, PrivateHeader Header)
{
    /// <summary>Its copy of the database; null where it cannot be read.</summary>
    public LdmDatabase? Database { get; set; }
}
