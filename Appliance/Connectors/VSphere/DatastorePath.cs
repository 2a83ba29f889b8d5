using System.Diagnostics.CodeAnalysis;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>A file as hypervisors name it: <c>[datastore] folder/file</c>. What would lead out of the datastore is no such path.</summary>
/// <param name="Path">Below the datastore, without a slash before it.</param>
internal readonly record struct DatastorePath(string Datastore, string Path)
{
    private const int MostCharacters = 2048;

    /// <summary>Folder below the datastore; empty for its root.</summary>
    public string Folder => Path.LastIndexOf('/') is var slash && slash < 0 ? "" : Path[..slash];

    public static bool TryParse(string text, out DatastorePath path)
    {
        path = default;
        if (text.Length > MostCharacters || !text.StartsWith('[') || text.IndexOf(']', StringComparison.Ordinal) is var end && end < 2)
        {
            return false;
        }

        return TryMake(text[1..end], text[(end + 1)..].TrimStart(' '), out path);
    }

    public static bool TryMake(string datastore, string below, out DatastorePath path)
    {
        path = new DatastorePath(datastore, below);
        return below.Length is > 0 and <= MostCharacters && !datastore.Any(char.IsControl) && below.Split('/').All(s => s is not ("" or "." or "..") && !s.Any(char.IsControl));
    }

    /// <summary>A file in the same folder; false for a name that leads elsewhere.</summary>
    public bool TryBeside(string name, [NotNullWhen(true)] out DatastorePath? path)
    {
        path = !name.Contains('/', StringComparison.Ordinal) && TryMake(Datastore, Folder.Length > 0 ? $"{Folder}/{name}" : name, out DatastorePath made) ? made : null;
        return path is not null;
    }

    public override string ToString() => $"[{Datastore}] {Path}";
}
