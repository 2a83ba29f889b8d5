using System.Text;
using Vmsweep.DiskReaders.Inspection.Guest.Rpm;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// Counts the packages of a database of paragraphs and keeps the versions of those that are asked for. Specs: Debian Policy 5.1 for
/// dpkg's <c>status</c> (deb-control fields, <c>Status</c> of dpkg(1)); Alpine's apk-package(5) for <c>installed</c>. RPM's databases give
/// headers instead.
/// </summary>
/// <param name="isApk">Alpine's; dpkg's otherwise.</param>
/// <param name="isByStatus">Packages without a <c>Status</c> that says so are not installed.</param>
internal sealed class PackageList(bool isApk, bool isByStatus = true)
{
    private static readonly (string Package, string Tool)[] ToolPackages =
    [
        ("open-vm-tools", "VMware Tools"), ("qemu-guest-agent", "QEMU guest agent"), ("hyperv-daemons", "Hyper-V daemons"), ("hvtools", "Hyper-V daemons"),
        ("linux-cloud-tools-common", "Hyper-V daemons"), ("virtualbox-guest-utils", "VirtualBox Guest Additions"), ("virtualbox-guest-additions", "VirtualBox Guest Additions"),
        ("xe-guest-utilities", "Xen guest utilities"), ("spice-vdagent", "SPICE agent"),
    ];

    private string _name = "";
    private string _version = "";
    private bool _isInstalled = !isByStatus;

    public int Count { get; private set; }

    public List<GuestTool> Tools { get; } = [];

    /// <summary>Kernel packages, with their versions.</summary>
    public List<string> Kernels { get; } = [];

    /// <summary>Takes the next line; an empty one ends a package.</summary>
    public void Add(ReadOnlySpan<byte> line)
    {
        line = line.TrimEnd((byte)'\r');
        if (line.IsEmpty)
        {
            End();
        }
        else if (After(line, isApk ? "P:"u8 : "Package:"u8) is { } name)
        {
            _name = name;
        }
        else if (After(line, isApk ? "V:"u8 : "Version:"u8) is { } version)
        {
            _version = version;
        }
        else if (!isApk && After(line, "Status:"u8) is { } status)
        {
            // Want, error flag, state: one that is on hold is installed too.
            _isInstalled = status.EndsWith(" installed", StringComparison.Ordinal);
        }
    }

    public void End()
    {
        if (_name.Length > 0 && (isApk || _isInstalled))
        {
            AddInstalled(_name, _version, IsKernel(_name));
        }

        _name = "";
        _version = "";
        _isInstalled = !isByStatus;
    }

    /// <summary>Takes a header of RPM.</summary>
    public void AddRpm(ReadOnlySpan<byte> header)
    {
        if (RpmHeader.Read(header) is var (name, version))
        {
            AddInstalled(name, version, name is "kernel" or "kernel-core" or "kernel-default" or "kernel-rt" or "kernel-uek" or "kernel-ml" or "kernel-lt");
        }
    }

    private void AddInstalled(string name, string version, bool isKernel)
    {
        Count++;
        if (Array.Find(ToolPackages, t => t.Package == name).Tool is { } tool && Tools.Count < GuestFacts.MostItems)
        {
            Tools.Add(new GuestTool(tool, version));
        }
        else if (isKernel && Kernels.Count < GuestFacts.MostItems)
        {
            Kernels.Add($"{name} {version}");
        }
    }

    private static string? After(ReadOnlySpan<byte> line, ReadOnlySpan<byte> field) =>
        line.StartsWith(field) ? Encoding.UTF8.GetString(line[field.Length..].Trim((byte)' ')) : null;

    // linux-image-amd64 only asks for the newest; Alpine's are linux-lts, linux-virt.
    private bool IsKernel(string name) => isApk
        ? name is "linux-lts" or "linux-virt" or "linux-edge" or "linux-stable" or "linux-hardened" or "linux-vanilla"
        : name.StartsWith("linux-image-", StringComparison.Ordinal) && name.Length > 12 && char.IsAsciiDigit(name[12]) && !name.EndsWith("-dbg", StringComparison.Ordinal);
}
