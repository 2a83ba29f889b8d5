using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Facts of a Linux guest, from the files by which it describes itself.</summary>
internal static class LinuxSystem
{
    /// <summary>Databases of five thousand packages have some 300 MB.</summary>
    private const long MostRpmBytes = 4L << 30;

    private const long MostLogInBytes = 1L << 30;

    /// <param name="withPackages">Databases of packages are read too.</param>
    public static GuestFacts Facts(LinuxRoot root, IReadOnlyList<FoundFiles> all, InspectedVm vm, GuestText text, bool withPackages)
    {
        FoundFiles files = root.Files;
        var tree = new LinuxTree(root, all, vm, text);
        Dictionary<string, string> release = Release(tree);
        (GuestPackages? packages, List<GuestTool> tools, List<string> kernels) = withPackages ? Packages(tree, text) : (null, [], []);
        (DateTimeOffset? boot, DateTimeOffset? logIn, string user) = LogIns(tree, text);
        return new GuestFacts
        {
            Volume = files.Volume.Id,
            OperatingSystem = Fact("PRETTY_NAME", "NAME") is { Length: > 0 } name ? name : OneLine(WantedFiles.OsRelease, root.Entry?.Title),
            Version = Fact("VERSION_ID"),
            Edition = Fact("VARIANT", "VARIANT_ID"),
            PatchLevel = Fact("BUILD_ID", "IMAGE_VERSION"),
            HostName = OneLine(WantedFiles.HostName, HostName(tree)),
            TimeZone = OneLine(WantedFiles.LocalTime, TimeZone(tree)),
            MachineId = OneLine(WantedFiles.MachineId, Text(tree, WantedFiles.MachineId)),
            LastBoot = boot,
            LastLogOn = logIn,
            LastUser = OneLine(WantedFiles.LogIns, user),
            Kernels = [.. kernels.Concat(tree.Modules()).Select(k => OneLine("lib/modules", k)).Where(k => k.Length > 0).Distinct().Take(GuestFacts.MostItems)],
            Packages = packages,
            HypervisorTools = [.. tools.Select(t => t with { Version = OneLine(packages?.Kind ?? "", t.Version) })],
            MountPoints = tree.Shown,
        };

        string Fact(params string[] names) => OneLine(WantedFiles.OsRelease, names.Select(release.GetValueOrDefault).FirstOrDefault(v => v is not null));

        string OneLine(string path, string? value) => text.Fact(files.Volume, path, value);
    }

    /// <summary>Spec: os-release(5): assignments as a shell reads them. Older systems have one line of text elsewhere.</summary>
    private static Dictionary<string, string> Release(LinuxTree tree)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        string text = Text(tree, WantedFiles.OsRelease) ?? Text(tree, WantedFiles.VendorOsRelease) ?? "";
        foreach (string line in text.Split('\n'))
        {
            int at = line.IndexOf('=', StringComparison.Ordinal);
            if (at > 0 && !line.StartsWith('#'))
            {
                values[line[..at].Trim()] = Unquote(line[(at + 1)..].Trim());
            }
        }

        if (values.Count == 0)
        {
            string? name = Text(tree, WantedFiles.RedHatRelease) ?? Text(tree, WantedFiles.SuseRelease)
                ?? (Text(tree, WantedFiles.DebianVersion) is { } debian ? "Debian " + debian : null);
            values["NAME"] = name?.Split('\n')[0] ?? "";
        }

        return values;
    }

    private static string Unquote(string value)
    {
        if (value.Length >= 2 && value[0] is '"' or '\'' && value[^1] == value[0])
        {
            value = value[1..^1];
        }

        return value.Replace("\\\"", "\"", StringComparison.Ordinal).Replace("\\$", "$", StringComparison.Ordinal).Replace("\\`", "`", StringComparison.Ordinal).Replace(@"\\", @"\", StringComparison.Ordinal);
    }

    private static string? HostName(LinuxTree tree) =>
        Text(tree, WantedFiles.HostName)?.Split('\n').Select(l => l.Trim()).FirstOrDefault(l => l.Length > 0 && l[0] != '#')
        ?? Text(tree, WantedFiles.RedHatNetwork)?.Split('\n').Select(l => l.Trim()).FirstOrDefault(l => l.StartsWith("HOSTNAME=", StringComparison.Ordinal))?["HOSTNAME=".Length..].Trim('"');

    /// <summary>The link says it on systemd's systems, and Debian has a file of its own.</summary>
    private static string? TimeZone(LinuxTree tree)
    {
        const string Zones = "zoneinfo/";
        string? target = tree.LinkTargets(WantedFiles.LocalTime).FirstOrDefault(t => t.Contains(Zones, StringComparison.Ordinal));
        return target is not null ? target[(target.IndexOf(Zones, StringComparison.Ordinal) + Zones.Length)..] : Text(tree, WantedFiles.TimeZone);
    }

    private static string? Text(LinuxTree tree, string path) => tree.Find(path) is { } found ? tree.Read(found) : null;

    private static (GuestPackages? Packages, List<GuestTool> Tools, List<string> Kernels) Packages(LinuxTree tree, GuestText text)
    {
        GuestPackages? packages = null;
        List<GuestTool> tools = [];
        List<string> kernels = [];
        foreach (string path in (string[])[WantedFiles.Dpkg, .. WantedFiles.Apk])
        {
            if (packages is null && tree.Find(path) is { } database)
            {
                var list = new PackageList(isApk: path != WantedFiles.Dpkg);
                text.Lines(database.Files.Volume, database.File, database.Path, list.Add);
                list.End();
                packages = new GuestPackages(path == WantedFiles.Dpkg ? "dpkg" : "apk", list.Count);
                tools = list.Tools;
                kernels = list.Kernels;
            }
        }

        if (packages is not { Count: > 0 } && tree.PackageParts() is { Count: > 0 } parts)
        {
            var list = new PackageList(isApk: false, isByStatus: false);
            foreach (FoundFile part in parts)
            {
                text.Lines(part.Files.Volume, part.File, part.Path, list.Add, GuestText.MostConfiguration);
                list.End();
            }

            packages = new GuestPackages("dpkg", list.Count);
            tools = list.Tools;
            kernels = list.Kernels;
        }

        foreach ((string path, string kind, Action<IBlockSource, ReadContext, Action<ReadOnlySpan<byte>>> read) in WantedFiles.Rpm)
        {
            if (packages is null && tree.Find(path) is { } database)
            {
                var list = new PackageList(isApk: false);
                bool isWhole = false;
                text.With(database.Files.Volume, database.File, database.Path, MostRpmBytes, content =>
                {
                    read(content, text.Context, list.AddRpm);
                    isWhole = true;
                });
                packages = new GuestPackages(kind, isWhole ? list.Count : null);
                tools = list.Tools;
                kernels = list.Kernels;
            }
        }

        tools.AddRange(WantedFiles.ToolPrograms
            .Where(p => tree.Find(p.Path) is not null)
            .Select(p => p.Tool)
            .Distinct()
            .Where(name => !tools.Exists(t => t.Name == name))
            .Select(name => new GuestTool(name, ""))
            .ToList());
        return (packages, tools, kernels);
    }

    private static (DateTimeOffset? Boot, DateTimeOffset? LogIn, string User) LogIns(LinuxTree tree, GuestText text)
    {
        (DateTimeOffset? Boot, DateTimeOffset? LogIn, string User) last = (null, null, "");
        if (tree.Find(WantedFiles.LogIns) is { } records)
        {
            text.With(records.Files.Volume, records.File, records.Path, long.MaxValue, content => last = LogInRecords.ReadWtmp(content, text.Context));
        }

        // Where the database is kept, the records are what was left by an older release.
        if (tree.Find(WantedFiles.LogInsDatabase) is { } database)
        {
            text.With(database.Files.Volume, database.File, database.Path, MostLogInBytes, content =>
            {
                (DateTimeOffset? boot, DateTimeOffset? logIn, string user) = LogInRecords.ReadWtmpdb(content, text.Context);
                last = (boot > last.Boot || last.Boot is null ? boot : last.Boot, last.LogIn, last.User);
                last = logIn > last.LogIn || last.LogIn is null ? (last.Boot, logIn, user) : last;
            });
        }

        if (last.LogIn is null && tree.Find(WantedFiles.LastLogIns) is { } users)
        {
            text.With(users.Files.Volume, users.File, users.Path, long.MaxValue, content => last.LogIn = LogInRecords.ReadLastLog(content, text.Context));
        }

        return last;
    }
}
