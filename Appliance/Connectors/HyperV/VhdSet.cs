using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// A disk that VMs of a guest cluster share: <c>NAME.vhds</c> holds no byte of it but which files do, in a form that is not published; the bytes lie beside it
/// in <c>NAME_GUID.avhdx</c>, over which others of the kind lie after a checkpoint. The one that nothing lies over is the present one.
/// </summary>
internal static class VhdSet
{
    public const string Extension = ".vhds";

    private const string DataExtension = ".avhdx";

    private const int MostFiles = 1024;

    public static bool Is(string path) => Path.GetExtension(path).Equals(Extension, StringComparison.OrdinalIgnoreCase);

    /// <summary>The set that a file of data is of by its name: <c>folder/NAME.vhds</c>; null for any other file.</summary>
    public static string? SetOf(string path)
    {
        string stem = path[..^Path.GetExtension(path).Length];
        int mark = stem.LastIndexOf('_');
        return mark > stem.LastIndexOf('/') + 1 && Path.GetExtension(path).Equals(DataExtension, StringComparison.OrdinalIgnoreCase) && Guid.TryParse(stem.AsSpan(mark + 1), out _)
            ? stem[..mark] + Extension
            : null;
    }

    /// <summary>Files that hold the present content: one, unless some of them were left over.</summary>
    public static IReadOnlyList<string> Tops(string set, string folder, IReadOnlyList<string> bases, KnownImages known)
    {
        string[] data =
        [
            .. Directory.EnumerateFiles(Path.GetDirectoryName(set)!)
                .Where(f => SetOf(f) is { } of && of.Equals(set[..^Extension.Length] + Extension, StringComparison.OrdinalIgnoreCase) && HostFile.KindOf(f) == HostFileKind.Regular)
                .Order(StringComparer.Ordinal).Take(MostFiles),
        ];
        var below = new HashSet<string>(StringComparer.Ordinal);
        foreach (string file in data)
        {
            try
            {
                below.UnionWith(VmDisk.Of(file, folder, bases, known: known).Plan.Files.Skip(1).Select(f => f.Path));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Whoever opens it as a disk says so.
            }
        }

        return [.. data.Where(f => !below.Contains(f))];
    }
}
