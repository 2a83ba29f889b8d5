namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Where a Linux begins.</summary>
/// <param name="Path">Its root folder on the volume, followed by <c>/</c>; empty for the volume's own.</param>
/// <param name="Entry">OSTree: the boot loader's entry that names it.</param>
internal sealed record LinuxRoot(FoundFiles Files, string Path, OstreeEntry? Entry)
{
    /// <summary>OSTree: the folder that holds all deployments, as <see cref="Path"/>; null where the root is no deployment.</summary>
    public string? Sysroot => Files.Deployments.GetValueOrDefault(Path)?.Sysroot;

    /// <summary>The Linux on a volume; null when there is none.</summary>
    public static LinuxRoot? Of(FoundFiles files, IReadOnlyList<FoundFiles> all, GuestText text)
    {
        (string Root, OstreeEntry? Entry)? deployment = OstreeBoot.Of(files, all, text);
        if (deployment is (string booted, { } entry))
        {
            return new LinuxRoot(files, booted, entry);
        }

        string? root = files.Roots
            .Where(r => Describes(files, r))
            .OrderBy(r => r.Length > 0 && r == files.DefaultRoot ? -1 : Rank(r))
            .ThenBy(r => r, StringComparer.Ordinal)
            .FirstOrDefault() ?? deployment?.Root;
        return root is null ? null : new LinuxRoot(files, root, null);
    }

    /// <summary>What the guest mounts without a file system table.</summary>
    public IEnumerable<(string Place, FoundFiles Files, string Folder)> Parts()
    {
        if (Sysroot is { } sysroot)
        {
            yield return ("/var", Files, Path[..(sysroot.Length + OstreePaths.StaterootIn(Path.AsSpan(sysroot.Length)))] + "var/");
            yield return ("/sysroot", Files, sysroot);
            if (Entry is { } entry && entry.On != Files)
            {
                yield return ("/boot", entry.On, "");
            }
        }
    }

    private static bool Describes(FoundFiles files, string root) =>
        ((string[])[WantedFiles.OsRelease, WantedFiles.VendorOsRelease, WantedFiles.RedHatRelease, WantedFiles.SuseRelease, WantedFiles.DebianVersion])
            .Any(p => files.Find(root + p) is not null);

    // What distributions call the subvolume of their root; snapshots of it come last, but SUSE's, which make one of them the default and boot that.
    private static int Rank(string root) => root switch
    {
        "" => 0,
        "@/" or "@rootfs/" or "root/" => 1,
        _ when root.Contains("snapshot", StringComparison.OrdinalIgnoreCase) => 3,
        _ => 2,
    };
}
