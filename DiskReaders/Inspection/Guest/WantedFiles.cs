using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Guest.Rpm;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Which files tell of a guest. Where a folder such as <c>/var</c> has a volume of its own, the path there is shorter.</summary>
internal static class WantedFiles
{
    public const string OsRelease = "etc/os-release";
    public const string VendorOsRelease = "usr/lib/os-release";
    public const string RedHatRelease = "etc/redhat-release";
    public const string SuseRelease = "etc/SuSE-release";
    public const string DebianVersion = "etc/debian_version";
    public const string HostName = "etc/hostname";
    public const string RedHatNetwork = "etc/sysconfig/network";
    public const string TimeZone = "etc/timezone";
    public const string LocalTime = "etc/localtime";
    public const string MachineId = "etc/machine-id";
    public const string FileSystemTable = "etc/fstab";
    public const string LogIns = "var/log/wtmp";
    public const string LastLogIns = "var/log/lastlog";
    public const string LogInsDatabase = "var/lib/wtmpdb/wtmp.db";
    public const string Dpkg = "var/lib/dpkg/status";

    /// <summary>The folder in which images that are built without dpkg have a paragraph for each package, a file each.</summary>
    public const string DpkgParts = "var/lib/dpkg/status.d";

    public static readonly string[] Apk = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

    /// <summary>RPM's databases, and what reads each.</summary>
    public static readonly (string Path, string Kind, Action<IBlockSource, ReadContext, Action<ReadOnlySpan<byte>>> Read)[] Rpm =
    [
        ("var/lib/rpm/rpmdb.sqlite", "rpm (sqlite)", SqlitePackages.Read), ("usr/lib/sysimage/rpm/rpmdb.sqlite", "rpm (sqlite)", SqlitePackages.Read), ("usr/share/rpm/rpmdb.sqlite", "rpm (sqlite)", SqlitePackages.Read),
        ("var/lib/rpm/Packages.db", "rpm (ndb)", NdbPackages.Read), ("usr/lib/sysimage/rpm/Packages.db", "rpm (ndb)", NdbPackages.Read), ("usr/share/rpm/Packages.db", "rpm (ndb)", NdbPackages.Read),
        ("var/lib/rpm/Packages", "rpm (Berkeley DB)", BerkeleyPackages.Read), ("usr/lib/sysimage/rpm/Packages", "rpm (Berkeley DB)", BerkeleyPackages.Read), ("usr/share/rpm/Packages", "rpm (Berkeley DB)", BerkeleyPackages.Read),
    ];

    /// <summary>Programs that show a hypervisor's tools where the package database is not read.</summary>
    public static readonly (string Path, string Tool)[] ToolPrograms =
    [
        ("usr/bin/vmtoolsd", "VMware Tools"), ("usr/sbin/vmtoolsd", "VMware Tools"),
        ("usr/bin/qemu-ga", "QEMU guest agent"), ("usr/sbin/qemu-ga", "QEMU guest agent"),
        ("usr/sbin/hv_kvp_daemon", "Hyper-V daemons"), ("usr/sbin/hypervkvpd", "Hyper-V daemons"), ("usr/bin/hv_kvp_daemon", "Hyper-V daemons"),
        ("usr/sbin/VBoxService", "VirtualBox Guest Additions"), ("usr/bin/VBoxService", "VirtualBox Guest Additions"),
        ("usr/sbin/xe-daemon", "Xen guest utilities"), ("usr/bin/xe-daemon", "Xen guest utilities"),
    ];

    /// <summary>Folders of Windows, each with the hives below it.</summary>
    public static readonly string[] WindowsFolders = ["windows", "winnt"];

    private static readonly string[] Wanted =
    [
        OsRelease, VendorOsRelease, RedHatRelease, SuseRelease, DebianVersion, HostName, RedHatNetwork, TimeZone, LocalTime, MachineId, FileSystemTable, NixPaths.Static,
        LogIns, LastLogIns, LogInsDatabase, Dpkg, DpkgParts, .. Apk, .. Rpm.Select(r => r.Path), .. ToolPrograms.Select(t => t.Path),
        .. from folder in WindowsFolders from hive in (string[])["software", "system"] from log in (string[])["", ".log", ".log1", ".log2"] select HivePath(folder, hive + log),
    ];

    private static readonly HashSet<string> Paths = [.. Wanted.SelectMany(Shortened), .. Wanted.Where(w => w.StartsWith("etc/", StringComparison.Ordinal)).Select(w => "usr/" + w)];

    private static readonly HashSet<string>.AlternateLookup<ReadOnlySpan<char>> PathsBySpan = Paths.GetAlternateLookup<ReadOnlySpan<char>>();

    private static readonly HashSet<string>.AlternateLookup<ReadOnlySpan<char>> Names =
        new HashSet<string>(Wanted.Select(w => w[(w.LastIndexOf('/') + 1)..].ToLowerInvariant())).GetAlternateLookup<ReadOnlySpan<char>>();

    private static readonly int LongestName = Wanted.Max(w => w.Length - w.LastIndexOf('/') - 1);

    public static string HivePath(string folder, string file) => $"{folder}/system32/config/{file}";

    /// <summary>Whether a name is the last part of a wanted path, before a path is made of it: asked for every file of a guest.</summary>
    public static bool MayBe(ReadOnlySpan<byte> name)
    {
        if (name.Length > LongestName)
        {
            return false;
        }

        Span<char> lower = stackalloc char[LongestName];
        for (int i = 0; i < name.Length; i++)
        {
            lower[i] = (char)(name[i] is >= (byte)'A' and <= (byte)'Z' ? name[i] | 0x20 : name[i]);
        }

        return Names.Contains(lower[..name.Length]);
    }

    /// <param name="root">Where a system may begin; the path counts from there.</param>
    public static bool IsWanted(string path, string root)
    {
        if (!path.StartsWith(root, StringComparison.Ordinal))
        {
            return false;
        }

        ReadOnlySpan<char> below = path.AsSpan(root.Length);
        return PathsBySpan.Contains(OstreePaths.Inside(below)) || OstreePaths.IsBoot(below) || (NixPaths.Inside(below) is { Length: > 0 } name && Paths.Contains(name));
    }

    public static bool IsModules(string path, string root) =>
        path.StartsWith(root, StringComparison.Ordinal) && OstreePaths.Inside(path.AsSpan(root.Length)) is "lib/modules" or "usr/lib/modules";

    private static IEnumerable<string> Shortened(string path)
    {
        yield return path;
        if (path.StartsWith("var/", StringComparison.Ordinal) || path.StartsWith("usr/", StringComparison.Ordinal))
        {
            for (int at = path.IndexOf('/', StringComparison.Ordinal); at >= 0; at = path.IndexOf('/', at + 1))
            {
                yield return path[(at + 1)..];
            }
        }
    }
}
