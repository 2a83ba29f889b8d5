using System.IO.Compression;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Corpus;

/// <summary>A row of the corpus manifest.</summary>
public sealed record CorpusImage(string Id, string File, string Listing, string Container, string Content, string RawSha256)
{
    public override string ToString() => Id;
}

/// <summary>Real images made by others, with listings by independent tools. Located by <c>VMSWEEP_CORPUS</c>; absent on machines without them.</summary>
internal static class CorpusImages
{
    public static string Folder { get; } = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") is { Length: > 0 } given
        ? given
        : Path.Combine(RepositoryRoot.Path, "..", "shared", "corpus");

    public static bool IsThere => File.Exists(Path.Combine(Folder, "manifest.tsv"));

    public static IEnumerable<CorpusImage> All()
    {
        string[] lines = File.ReadAllLines(Path.Combine(Folder, "manifest.tsv"));
        string[] header = lines[0].Split('\t');
        int At(string name) => Array.IndexOf(header, name);
        foreach (string[] row in lines.Skip(1).Select(l => l.Split('\t')))
        {
            yield return new CorpusImage(row[At("id")], row[At("file")], row[At("listing")], row[At("container")], row[At("content")], row[At("raw_sha256")]);
        }
    }

    /// <summary>Unpacks an image into a folder; with it every other file of its corpus folder, since parents lie beside their children.</summary>
    public static string Unpack(CorpusImage image, string into)
    {
        string source = Path.Combine(Folder, "images", image.File);
        string[] together = image.File.StartsWith("mkfs-sweep/", StringComparison.Ordinal) ? [source] : Directory.GetFiles(Path.GetDirectoryName(source)!);
        foreach (string packed in together)
        {
            UnpackOne(packed, Target(packed, into));
        }

        return Target(source, into);
    }

    public static IReadOnlyList<string> ListingOf(CorpusImage image) =>
        image.Listing.Length == 0 ? [] : [.. File.ReadAllLines(Path.Combine(Folder, "listings", image.Listing)).Where(l => l.Length > 0)];

    private static string Target(string packed, string into) =>
        Path.Combine(into, Path.GetExtension(packed) is ".xz" or ".gz" or ".Z" or ".zip" ? Path.GetFileNameWithoutExtension(packed) : Path.GetFileName(packed));

    private static void UnpackOne(string packed, string target)
    {
        switch (Path.GetExtension(packed))
        {
            case ".xz":
                Tool.Shell($"xz -dc '{packed}' > '{target}'");
                break;
            case ".gz" or ".Z":
                Tool.Shell($"gzip -dc '{packed}' > '{target}'");
                break;
            case ".zip":
                using (ZipArchive zip = ZipFile.OpenRead(packed))
                {
                    // Beside the image lies a text about it.
                    zip.Entries.MaxBy(e => e.Length)!.ExtractToFile(target);
                }

                break;
            default:
                File.Copy(packed, target);
                break;
        }
    }
}
