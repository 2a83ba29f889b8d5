using System.Globalization;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

/// <summary>
/// The containers of a volume's chunk stores by their numbers:
/// <c>System Volume Information/Dedup/ChunkStore/{GUID}.ddp/Data|Stream/ID.GENERATION.ccc</c>.
/// </summary>
internal sealed class ChunkContainers
{
    private readonly Dictionary<(Guid Store, bool IsStream, uint Id), List<(uint Generation, NtfsFile File)>> _files = [];

    /// <summary>The containers of one number, the newest generation first.</summary>
    public IReadOnlyList<(uint Generation, NtfsFile File)> Of(Guid store, bool isStream, uint id) =>
        _files.TryGetValue((store, isStream, id), out List<(uint, NtfsFile)>? found) ? found : [];

    /// <summary>Takes a file that is a container; any other is left.</summary>
    public void Learn(NtfsFile file)
    {
        // One that is itself in the store would lead back to itself.
        if (file.IsDeleted || file.Kind != GuestFileKind.Regular || file.StreamName.Length > 0 || file.Layout is DedupReparse)
        {
            return;
        }

        foreach (GuestLink link in file.Links)
        {
            if (!TryName(link.Name, out uint id, out uint generation) || !TryStore(link.Folder, out Guid store, out bool isStream))
            {
                continue;
            }

            if (!_files.TryGetValue((store, isStream, id), out List<(uint Generation, NtfsFile File)>? of))
            {
                _files[(store, isStream, id)] = of = [];
            }

            int at = of.FindIndex(f => f.Generation <= generation);
            of.Insert(at < 0 ? of.Count : at, (generation, file));
        }
    }

    /// <summary>Eight hexadecimal digits, a point, eight more and <c>.ccc</c>.</summary>
    private static bool TryName(ReadOnlySpan<byte> name, out uint id, out uint generation)
    {
        id = generation = 0;
        return name.Length == 21 && name[8] == '.' && name.EndsWith(".ccc"u8)
            && uint.TryParse(name[..8], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out id)
            && uint.TryParse(name[9..17], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out generation);
    }

    private static bool TryStore(GuestFolder folder, out Guid store, out bool isStream)
    {
        isStream = Is(folder, "Stream"u8);
        store = default;
        GuestFolder? of = folder.Parent;
        ReadOnlySpan<byte> name = of is null ? default : of.Name;
        return (isStream || Is(folder, "Data"u8))
            && name.EndsWith(".ddp"u8) && Guid.TryParseExact(System.Text.Encoding.ASCII.GetString(name[..^4]), "B", out store)
            && Is(of!.Parent, "ChunkStore"u8) && Is(of.Parent!.Parent, "Dedup"u8)
            && Is(of.Parent.Parent!.Parent, "System Volume Information"u8) && of.Parent.Parent.Parent!.Parent is { Parent: null };
    }

    private static bool Is(GuestFolder? folder, ReadOnlySpan<byte> name) =>
        folder?.Parent is not null && System.Text.Ascii.EqualsIgnoreCase(folder.Name, name);
}
