namespace Vmsweep.Signatures.Bundles;

/// <summary>What a part is for.</summary>
public enum PartKind
{
    /// <summary>YARA rules, and what they include.</summary>
    Yara,

    /// <summary>Hashes of malware.</summary>
    Hashes,

    /// <summary>Hashes of known good files.</summary>
    KnownGood,

    /// <summary>Databases for ClamAV beside its own.</summary>
    ClamAv,

    /// <summary>Allow lists.</summary>
    Allow,
}

/// <summary>A file of a bundle.</summary>
/// <param name="Path">Inside the bundle; its first folder belongs to its kind.</param>
/// <param name="Sha256">64 lower-case hexadecimal digits.</param>
/// <param name="Count">Rules, hashes, signatures or entries that stand in it.</param>
public sealed record BundlePart(string Path, PartKind Kind, long Bytes, string Sha256, long Count);

/// <summary>The names of kinds and the folders where their parts lie: one for each kind, so that an engine is given a folder.</summary>
public static class PartKinds
{
    // Text databases only. .cvd and .cld are ClamAV's own signed ones, which freshclam keeps; bytecode is a program.
    private static readonly string[] ClamAvExtensions = [".ndb", ".ndu", ".ldb", ".ldu", ".hdb", ".hdu", ".hsb", ".hsu", ".mdb", ".mdu", ".msb", ".msu", ".fp", ".sfp", ".ign2", ".cdb", ".idb", ".ftm", ".pdb", ".wdb", ".crb"];

    private static readonly PartKind[] All = Enum.GetValues<PartKind>();

    /// <summary>As manifests and reports spell it.</summary>
    public static string Name(PartKind kind) => kind switch
    {
        PartKind.Yara => "yara",
        PartKind.Hashes => "hashes",
        PartKind.KnownGood => "known-good",
        PartKind.ClamAv => "clamav",
        _ => "allow",
    };

    /// <summary>The folder of a kind.</summary>
    public static string Folder(PartKind kind) => kind == PartKind.Yara ? "rules" : Name(kind);

    /// <summary>The kind that a path belongs to; null for none.</summary>
    public static PartKind? Of(string path)
    {
        foreach (PartKind kind in All)
        {
            if (path.StartsWith(Folder(kind) + "/", StringComparison.Ordinal))
            {
                return kind;
            }
        }

        return null;
    }

    /// <summary>Null, or why no part may have this path: one that leaves its folder, hides, or acts on a terminal or shell never comes up.</summary>
    public static string? WhyNot(string path)
    {
        if (path.Length is 0 or > BundleLimits.MostPathBytes)
        {
            return $"a path has 1 to {BundleLimits.MostPathBytes} characters";
        }

        if (path[0] == '/')
        {
            return "an absolute path";
        }

        string[] names = path.Split('/');
        if (names.Length > BundleLimits.MostPathDepth)
        {
            return $"more than {BundleLimits.MostPathDepth - 1} folders deep";
        }

        foreach (string name in names)
        {
            if (name is "" or "." or "..")
            {
                return $"a path with {(name.Length == 0 ? "an empty name" : $"\"{name}\"")}";
            }

            if (!char.IsAsciiLetterOrDigit(name[0]) && name[0] != '_')
            {
                return "a name that does not begin with a letter, digit or _";
            }

            if (!name.All(c => char.IsAsciiLetterOrDigit(c) || "._+@=-".Contains(c, StringComparison.Ordinal)))
            {
                return "a name with characters other than letters, digits and ._+@=-";
            }
        }

        if (Of(path) is not { } kind)
        {
            return $"not below {string.Join("/, ", All.Select(Folder))}/";
        }

        return kind == PartKind.ClamAv && !ClamAvExtensions.Contains(Path.GetExtension(path), StringComparer.Ordinal)
            ? $"no ClamAV database that a bundle may carry: {string.Join(' ', ClamAvExtensions)}"
            : null;
    }
}
