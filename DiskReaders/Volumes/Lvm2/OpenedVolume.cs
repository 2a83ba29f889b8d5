using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>A logical volume whose bytes can be read.</summary>
/// <param name="Source">Owned by its group.</param>
/// <param name="Layout">How it lies, for people.</param>
/// <param name="Notes">What is to be known of it and of the volumes below.</param>
/// <param name="IsSuspect">It lies on a physical volume that its group had given up, and may be out of date.</param>
internal sealed record OpenedVolume(IBlockSource Source, string Layout, IReadOnlyList<string> Notes, bool IsSuspect)
{
    public static OpenedVolume Of(IBlockSource source, string layout, params ReadOnlySpan<OpenedVolume> below)
    {
        var notes = new List<string>();
        bool isSuspect = false;
        foreach (OpenedVolume volume in below)
        {
            notes.AddRange(volume.Notes.Where(n => !notes.Contains(n)));
            isSuspect |= volume.IsSuspect;
        }

        return new OpenedVolume(source, layout, notes, isSuspect);
    }
}
