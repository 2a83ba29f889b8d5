using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Md;

/// <summary>
/// Linux software RAID. Spec: md(4), mdadm(8), Linux include/uapi/linux/raid/md_p.h. Arrays are found by set_uuid among all members; the
/// member with most events tells what the array is, and one that fell behind is left out, as Linux does.
/// </summary>
public sealed class MdFormat : IVolumeFormat
{
    public string Name => "md";

    public FormatSupport Support { get; } = new(
        "Linux MD",
        "linear, RAID 0, 1, 4, 5, 6, 10 in all layouts; metadata 0.90 to 1.2; degraded arrays from parity and mirrors",
        "arrays being reshaped, write journals, stale members");

    public bool Probe(IBlockSource content) => MdPlaces.IsMember(content);

    public VolumeAssembly Assemble(IReadOnlyList<VolumeMember> members, ReadContext context)
    {
        List<AssembledVolume> volumes = [];
        List<MemberArea> leftovers = [];
        List<MdMember> sound = [];
        try
        {
            for (int i = 0; i < members.Count; i++)
            {
                context.ThrowIfCancelled();
                try
                {
                    sound.Add(new MdMember(i, members[i], MdPlaces.Read(members[i].Content, context)));
                }
                catch (DiskFormatException e)
                {
                    volumes.Add(new AssembledVolume { Name = "", Layout = "member of an unknown array", Place = i, Fault = e, SectorBytes = members[i].SectorBytes });
                    leftovers.Add(new MemberArea(i, "md-member", 0, members[i].Content.Length));
                }
            }

            foreach (IGrouping<string, MdMember> group in sound.GroupBy(m => m.Superblock.ArrayId, StringComparer.Ordinal))
            {
                context.ThrowIfCancelled();
                volumes.Add(new MdArray([.. group], context, leftovers).Open());
            }
        }
        catch
        {
            volumes.ForEach(v => v.Dispose());
            throw;
        }

        return new VolumeAssembly([.. volumes.OrderBy(v => v.Place)], [.. leftovers.Where(a => a.SizeBytes > 0)]);
    }
}

/// <summary>A member with its superblock.</summary>
/// <param name="Index">Its place among those given.</param>
internal sealed record MdMember(int Index, VolumeMember Given, MdSuperblock Superblock);
