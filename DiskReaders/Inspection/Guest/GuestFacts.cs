namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// What a VM's disks say of the system on them. Guest text throughout, none of it longer than <see cref="GuestFacts.MostText"/>;
/// empty or null is what nothing was found of.
/// </summary>
public sealed record GuestFacts
{
    /// <summary>Longest text, in UTF-16 code units. Real ones have dozens; a longer one is left out, with a gap.</summary>
    public const int MostText = 1024;

    /// <summary>Longest list.</summary>
    public const int MostItems = 256;

    /// <summary>Id of the volume that the system lies on.</summary>
    public required string Volume { get; init; }

    /// <summary>As its maker calls it: <c>Windows Server 2022 Standard</c>, <c>Debian GNU/Linux 12 (bookworm)</c>.</summary>
    public string OperatingSystem { get; init; } = "";

    /// <summary><c>23H2</c>, <c>12</c>.</summary>
    public string Version { get; init; } = "";

    /// <summary><c>ServerStandard</c>, <c>server</c>.</summary>
    public string Edition { get; init; } = "";

    /// <summary>Version, build and update revision of Windows' kernel: <c>10.0.20348.2113</c>; of others the build or image they name.</summary>
    public string PatchLevel { get; init; } = "";

    public string HostName { get; init; } = "";

    /// <summary><c>W. Europe Standard Time</c>, <c>Europe/Berlin</c>.</summary>
    public string TimeZone { get; init; } = "";

    /// <summary>What tells this installation from others: systemd's machine id, Windows' MachineGuid.</summary>
    public string MachineId { get; init; } = "";

    public DateTimeOffset? Installed { get; init; }

    public DateTimeOffset? LastBoot { get; init; }

    public DateTimeOffset? LastShutdown { get; init; }

    public DateTimeOffset? LastLogOn { get; init; }

    /// <summary>Who logged on last.</summary>
    public string LastUser { get; init; } = "";

    /// <summary>Versions of the kernels that are installed; of Windows none.</summary>
    public IReadOnlyList<string> Kernels { get; init; } = [];

    public GuestPackages? Packages { get; init; }

    public IReadOnlyList<GuestTool> HypervisorTools { get; init; } = [];

    public IReadOnlyList<GuestMount> MountPoints { get; init; } = [];

    /// <summary>Further systems on the disks, each as its volume's id and its name.</summary>
    public IReadOnlyList<string> OtherSystems { get; init; } = [];
}

/// <summary>A hypervisor's own software in its guest.</summary>
/// <param name="Version">Empty where it is not told.</param>
public sealed record GuestTool(string Name, string Version);

/// <param name="Kind">Package manager: <c>dpkg</c>, <c>apk</c>, <c>rpm (sqlite)</c>.</param>
/// <param name="Count">Installed packages; null where the database could not be read to its end.</param>
public sealed record GuestPackages(string Kind, int? Count);

/// <summary>Where the guest shows a volume.</summary>
/// <param name="Path"><c>C:</c> or <c>/home</c>.</param>
/// <param name="Subvolume">The part of the volume that is shown there, as the guest names it; empty for all of it.</param>
public sealed record GuestMount(string Volume, string Path, string Subvolume);
