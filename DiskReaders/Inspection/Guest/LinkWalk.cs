namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Follows links as a kernel does, one name after the other, and never above the root that paths count from.</summary>
/// <param name="at">What lies at a path; links are not followed. Null for folders and what is not known.</param>
/// <param name="read">What a link says; null when it cannot be read.</param>
internal sealed class LinkWalk(Func<string, FoundFile?> at, Func<FoundFile, string?> read)
{
    /// <summary>Links to follow in one path, as many as Linux does.</summary>
    private const int MostLinks = 40;

    /// <summary>Of what is looked for nothing lies nearly as deep, and each name costs a look at the whole path.</summary>
    private const int MostNames = 64;

    /// <summary>PATH_MAX.</summary>
    private const int LongestPath = 4096;

    /// <summary>The path that no link is left in; null when there are too many, or one cannot be read.</summary>
    /// <param name="path">Without a leading <c>/</c>.</param>
    /// <param name="passed">Told what each link said.</param>
    public string? Follow(string path, Action<string>? passed = null)
    {
        if (path.Length > LongestPath)
        {
            return null;
        }

        var ahead = new Stack<string>(path.Split('/').Reverse());
        List<string> names = [];
        for (int links = 0; ahead.TryPop(out string? name);)
        {
            if (name == "..")
            {
                names.RemoveRange(Math.Max(0, names.Count - 1), Math.Min(1, names.Count));
                continue;
            }

            if (name is "" or ".")
            {
                continue;
            }

            names.Add(name);
            if (names.Count > MostNames)
            {
                return null;
            }

            if (at(string.Join('/', names)) is not { File.Kind: FileSystems.GuestFileKind.Link } link)
            {
                continue;
            }

            if (++links > MostLinks || read(link) is not { Length: <= LongestPath } target || ahead.Count > LongestPath)
            {
                return null;
            }

            passed?.Invoke(target);
            names.RemoveRange(target.StartsWith('/') ? 0 : names.Count - 1, target.StartsWith('/') ? names.Count : 1);
            foreach (string next in target.Split('/').Reverse())
            {
                ahead.Push(next);
            }
        }

        return string.Join('/', names);
    }
}
