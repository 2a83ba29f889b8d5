using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline.Detections;

/// <summary>What a content is because of where it lies or how it is called. Never part of a verdict on the bytes alone.</summary>
internal static class PlacedDetections
{
    /// <param name="item">Where it lies.</param>
    /// <param name="bytes">The content, or a part of it.</param>
    /// <param name="offset">Where the part begins.</param>
    public static void Add(ContentItem item, ReadOnlySpan<byte> bytes, long offset, List<Detection> found)
    {
        switch (item)
        {
            case GuestContent { File: { Kind: GuestFileKind.Regular } file } when offset == 0 && file.StreamName.Length == 0:
                DeceptiveNames.Add(file, found);
                break;
            case GuestContent { File: { Kind: GuestFileKind.System } file } when offset == 0 && file.StreamName.Length == 0 && IsBoot(file):
                BootCode.AddOfVolume(bytes, found);
                break;
            case AreaContent area when offset == 0 && NameOf(area.Path) is "mbr":
                BootCode.AddOfDisk(bytes, found);
                break;
            case AreaContent area when NameOf(area.Path) is "gap" or "slack":
                Executables.Add(bytes, offset, found);
                break;
        }
    }

    private static bool IsBoot(GuestFile file) => file.Links[0].Name.AsSpan().SequenceEqual("$Boot"u8);

    /// <summary>An area's path ends with what it is and where: <c>disk/gap@1048576</c>.</summary>
    private static ReadOnlySpan<char> NameOf(string path)
    {
        ReadOnlySpan<char> last = path.AsSpan(path.LastIndexOf('/') + 1);
        int at = last.IndexOf('@');
        return at < 0 ? last : last[..at];
    }
}
