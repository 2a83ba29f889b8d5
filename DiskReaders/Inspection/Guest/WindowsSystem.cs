using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Registry;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Facts of a Windows guest, from its hives SOFTWARE and SYSTEM. Key and value names as Microsoft documents them.</summary>
internal sealed class WindowsSystem
{
    /// <summary>Windows 11 still calls itself 10 in its ProductName; the build tells.</summary>
    private const int FirstBuildOf11 = 22000;

    /// <summary>A hive is read where it is asked; this bounds what its offsets can reach anyway.</summary>
    private const long MostHiveBytes = 2L << 30;

    private const uint Disabled = 4;

    private static readonly (string Name, string Tool)[] Programs =
    [
        ("VMware Tools", "VMware Tools"), ("QEMU guest agent", "QEMU guest agent"), ("Oracle VM VirtualBox Guest Additions", "VirtualBox Guest Additions"),
        ("Oracle VirtualBox Guest Additions", "VirtualBox Guest Additions"), ("Virtio-win", "VirtIO drivers"), ("Parallels Tools", "Parallels Tools"),
        ("Citrix VM Tools", "Xen guest tools"), ("XenServer VM Tools", "Xen guest tools"), ("Citrix Hypervisor", "Xen guest tools"), ("Citrix XenServer", "Xen guest tools"), ("XCP-ng Windows", "Xen guest tools"),
    ];

    private static readonly (string Name, string Tool)[] Services =
    [
        ("VMTools", "VMware Tools"), ("QEMU-GA", "QEMU guest agent"), ("VBoxService", "VirtualBox Guest Additions"), ("viostor", "VirtIO drivers"), ("vioscsi", "VirtIO drivers"),
        ("netkvm", "VirtIO drivers"), ("BalloonService", "VirtIO drivers"), ("xenagent", "Xen guest tools"), ("XenSvc", "Xen guest tools"), ("xenbus", "Xen guest tools"),
    ];

    private readonly FoundFiles _files;
    private readonly string _folder;
    private readonly InspectedVm _vm;
    private readonly GuestText _text;
    private GuestFacts _facts;
    private string _path = "";

    // Its own folder, as the system knows it: C:\Windows.
    private string _root = "";

    private WindowsSystem(FoundFiles files, string folder, InspectedVm vm, GuestText text)
    {
        _files = files;
        _folder = folder;
        _vm = vm;
        _text = text;
        _facts = new GuestFacts { Volume = files.Volume.Id };
    }

    /// <summary>The folder of Windows on a volume; null when there is none.</summary>
    public static string? FolderOf(FoundFiles files) => Array.Find(WantedFiles.WindowsFolders, f => files.Find(WantedFiles.HivePath(f, "software")) is not null);

    /// <summary>What the hives say; null when they say nothing.</summary>
    public static GuestFacts? Facts(FoundFiles files, string folder, InspectedVm vm, GuestText text)
    {
        var system = new WindowsSystem(files, folder, vm, text);
        GuestFacts before = system._facts;
        system.With("software", system.ReadSoftware);
        system.With("system", system.ReadSystem);
        system.AddOwnLetter();
        return system._facts == before ? null : system._facts;
    }

    internal static DateTimeOffset? Time(ulong fileTime) =>
        fileTime is > 0 and <= long.MaxValue && (long)fileTime <= DateTimeOffset.MaxValue.ToFileTime() ? DateTimeOffset.FromFileTime((long)fileTime).ToUniversalTime() : null;

    /// <summary>Opens a hive with its logs.</summary>
    private void With(string name, Action<Hive> read)
    {
        string path = WantedFiles.HivePath(_folder, name);
        if (_files.Find(path) is not { } file)
        {
            return;
        }

        _path = Encoding.UTF8.GetString(file.Links[0].Path());
        _text.With(_files.Volume, file, _path, MostHiveBytes, primary =>
        {
            List<IBlockSource> logs = [];
            try
            {
                foreach (string suffix in (string[])[".log1", ".log2", ".log"])
                {
                    if (_files.Find(path + suffix) is { Fault: null } log)
                    {
                        logs.Add(_files.Volume.FileSystem!.OpenContent(log));
                    }
                }

                using Hive hive = Hive.Open(primary, logs, _text.Context);
                if (!BaseBlock.Read(primary).IsClean && hive.LogEntriesApplied == 0)
                {
                    throw new DiskFormatException(Fault.Corrupt, BaseBlock.Structure, 4, "the hive was not written to its end, and no log goes on from there");
                }

                read(hive);
            }
            finally
            {
                logs.ForEach(l => l.Dispose());
            }
        });
    }

    private void ReadSoftware(Hive hive)
    {
        Part(() =>
        {
            if (hive.Find(@"Microsoft\Windows NT\CurrentVersion") is { } version)
            {
                ReadVersion(version);
            }
        });
        Part(() => _facts = _facts with { MachineId = Fact(hive.Find(@"Microsoft\Cryptography")?.Text("MachineGuid")) });
        Part(() => ReadProfiles(hive));
        Part(() => ReadPrograms(hive));
        Part(() =>
        {
            if (hive.Find(@"Microsoft\Virtual Machine\Guest\Parameters") is not null)
            {
                AddTool("Hyper-V integration services", hive.Find(@"Microsoft\Virtual Machine\Auto")?.Text("IntegrationServicesVersion"));
            }
        });
    }

    private void ReadVersion(HiveKey version)
    {
        string product = version.Text("ProductName") ?? "";
        string build = version.Text("CurrentBuild") ?? version.Text("CurrentBuildNumber") ?? "";
        const string Ten = "Windows 10";
        if (int.TryParse(build, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= FirstBuildOf11
            && product.StartsWith(Ten, StringComparison.Ordinal) && version.Text("InstallationType") is null or "Client")
        {
            product = "Windows 11" + product[Ten.Length..];
        }

        string kernel = version.Number("CurrentMajorVersionNumber") is { } major
            ? string.Create(CultureInfo.InvariantCulture, $"{major}.{version.Number("CurrentMinorVersionNumber") ?? 0}")
            : version.Text("CurrentVersion") ?? "";
        string revision = version.Number("UBR") is { } ubr ? "." + ubr.ToString(CultureInfo.InvariantCulture) : "";
        _root = version.Text("SystemRoot") ?? "";
        _facts = _facts with
        {
            OperatingSystem = Fact(product),
            Version = Fact(version.Text("DisplayVersion") ?? version.Text("ReleaseId") ?? version.Text("CSDVersion")),
            Edition = Fact(version.Text("EditionID")),
            PatchLevel = Fact(build.Length > 0 ? $"{kernel}.{build}{revision}".TrimStart('.') : kernel),
            Installed = version.Number("InstallDate") is { } seconds and > 0 ? DateTimeOffset.FromUnixTimeSeconds(seconds) : null,
        };
    }

    /// <summary>The letter that the system gives its own volume, where MountedDevices names none of the VM's disks for it.</summary>
    private void AddOwnLetter()
    {
        if (_root is [(>= 'A' and <= 'Z') or (>= 'a' and <= 'z'), ':', '\\', ..] && _root[..2].ToUpperInvariant() is var letter
            && _facts.MountPoints.All(m => m.Volume != _files.Volume.Id && m.Path != letter))
        {
            _facts = _facts with { MountPoints = [new GuestMount(_files.Volume.Id, letter, ""), .. _facts.MountPoints] };
        }
    }

    /// <summary>When users' profiles were loaded, which is when they logged on: kept since Windows 10.</summary>
    private void ReadProfiles(Hive hive)
    {
        ulong latest = 0;
        string? user = null;
        foreach (HiveKey profile in hive.Find(@"Microsoft\Windows NT\CurrentVersion\ProfileList")?.Children ?? [])
        {
            // Users of the machine, of a domain, of Entra; services have other SIDs.
            bool isUser = profile.Name.StartsWith("S-1-5-21-", StringComparison.Ordinal) || profile.Name.StartsWith("S-1-12-1-", StringComparison.Ordinal);
            if (isUser && profile.Number("LocalProfileLoadTimeHigh") is { } high && profile.Number("LocalProfileLoadTimeLow") is { } low
                && (((ulong)high << 32) | low) is var time && time > latest)
            {
                latest = time;
                user = profile.Text("ProfileImagePath")?.Split('\\')[^1];
            }
        }

        user ??= hive.Find(@"Microsoft\Windows\CurrentVersion\Authentication\LogonUI")?.Text("LastLoggedOnUser");
        _facts = _facts with { LastLogOn = Time(latest), LastUser = Fact(user) };
    }

    private void ReadPrograms(Hive hive)
    {
        foreach (string path in (string[])[@"Microsoft\Windows\CurrentVersion\Uninstall", @"WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall"])
        {
            foreach (HiveKey program in hive.Find(path)?.Children ?? [])
            {
                if (program.Text("DisplayName") is { } name && Array.Find(Programs, p => name.StartsWith(p.Name, StringComparison.OrdinalIgnoreCase)).Tool is { } tool)
                {
                    AddTool(tool, program.Text("DisplayVersion"));
                }
            }
        }

        if (hive.Find(@"Oracle\VirtualBox Guest Additions") is { } additions)
        {
            AddTool("VirtualBox Guest Additions", additions.Text("Version"));
        }
    }

    private void ReadSystem(Hive hive)
    {
        uint current = 0;
        Part(() => current = hive.Find("Select")?.Number("Current") ?? 0);
        string set = string.Create(CultureInfo.InvariantCulture, $"ControlSet{current:000}\\");
        Part(() =>
        {
            HiveKey? network = hive.Find(set + @"Services\Tcpip\Parameters");
            string? host = network?.Text("Hostname") ?? network?.Text("NV Hostname") ?? hive.Find(set + @"Control\ComputerName\ComputerName")?.Text("ComputerName");
            string? domain = network?.Text("Domain") is { Length: > 0 } joined ? joined : network?.Text("NV Domain");
            _facts = _facts with { HostName = Fact(host is { Length: > 0 } && domain is { Length: > 0 } ? $"{host}.{domain}" : host) };
        });
        Part(() =>
        {
            HiveKey? zone = hive.Find(set + @"Control\TimeZoneInformation");
            string? name = zone?.Text("TimeZoneKeyName") ?? zone?.Text("StandardName");
            _facts = _facts with { TimeZone = Fact(name?.StartsWith('@') == true ? null : name) };
        });
        Part(() =>
        {
            byte[] shutdown = hive.Find(set + @"Control\Windows")?.Value("ShutdownTime")?.Data() ?? [];
            _facts = _facts with { LastShutdown = shutdown.Length == 8 ? Time(BitConverter.ToUInt64(shutdown)) : null };
        });
        Part(() =>
        {
            foreach ((string name, string tool) in Services)
            {
                if (hive.Find(set + @"Services\" + name) is { } service && service.Number("Start") is not (null or Disabled))
                {
                    AddTool(tool, null);
                }
            }
        });
        Part(() =>
        {
            if (DriveLetters.Read(hive, _vm) is { Count: > 0 } letters)
            {
                _facts = _facts with { MountPoints = letters };
            }
        });
    }

    private void AddTool(string name, string? version)
    {
        GuestTool? known = _facts.HypervisorTools.FirstOrDefault(t => t.Name == name);
        if (known is null)
        {
            _facts = _facts with { HypervisorTools = [.. _facts.HypervisorTools, new GuestTool(name, Fact(version))] };
        }
        else if (known.Version.Length == 0 && version is { Length: > 0 })
        {
            _facts = _facts with { HypervisorTools = [.. _facts.HypervisorTools.Select(t => t == known ? t with { Version = Fact(version) } : t)] };
        }
    }

    private string Fact(string? text) => _text.Fact(_files.Volume, _path, text);

    /// <summary>What is broken in one place of a hive says nothing of the others.</summary>
    private void Part(Action read)
    {
        try
        {
            read();
        }
        catch (DiskFormatException e)
        {
            _text.Context.Gaps.Add(new CoverageGap(e, GuestText.PathOf(_files.Volume, _path), 0));
        }
    }
}
