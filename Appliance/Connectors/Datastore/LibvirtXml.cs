using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// libvirt's domain XML. Spec: libvirt.org, "Domain XML format". Sources are absolute paths of the hypervisor's host: what lies neither in
/// the XML's folder nor below a declared base is not opened, for the XML may have come with an image from a tenant.
/// </summary>
internal sealed class LibvirtXml
{
    private LibvirtXml(XElement domain, string state)
    {
        Name = domain.Child("name")?.Value.Trim() ?? "";
        Uuid = domain.Child("uuid")?.Value.Trim().Replace("-", "", StringComparison.Ordinal).ToLowerInvariant() ?? "";
        GuestOs = domain.Child("metadata")?.Descendants().FirstOrDefault(e => e.Name.LocalName == "os").Value("id") ?? "";
        Power = state switch { "running" => "running", "paused" => "running", "shutoff" => "off", _ => "unknown" };
        Disks = [.. (domain.Child("devices")?.Children("disk") ?? []).Where(d => d.Value("device") is "" or "disk" or "lun").Select(Disk).OfType<LibvirtDisk>()];
        Discs = [.. (domain.Child("devices")?.Children("disk") ?? []).Where(d => d.Value("device") == "cdrom").Select(Disk).OfType<LibvirtDisk>().Where(d => d.Type == "file").Select(d => d.Source)];
    }

    public string Name { get; }

    /// <summary>Without separators; empty when there is none.</summary>
    public string Uuid { get; }

    /// <summary>libosinfo's id of the system; empty where the XML does not say.</summary>
    public string GuestOs { get; }

    /// <summary>Known from a status file (<c>domstatus</c>) alone; a paused domain's disks are open like a running one's.</summary>
    public string Power { get; }

    /// <summary>In the XML's order.</summary>
    public IReadOnlyList<LibvirtDisk> Disks { get; }

    /// <summary>Images of optical discs in its drives.</summary>
    public IReadOnlyList<string> Discs { get; }

    public static bool IsRoot(string name) => name is "domain" or "domstatus";

    /// <exception cref="InvalidDataException">The file is no domain.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static LibvirtXml Read(string path) => Of(ConfigurationXml.Read(path), path);

    /// <exception cref="InvalidDataException">The XML is no domain.</exception>
    public static LibvirtXml Of(XElement root, string name)
    {
        XElement? domain = root.Name.LocalName == "domstatus" ? root.Child("domain") : root;
        return domain is { Name.LocalName: "domain" }
            ? new LibvirtXml(domain, root.Value("state"))
            : throw new InvalidDataException($"{name}: neither a VM configuration nor a libvirt domain (its root is {root.Name.LocalName})");
    }

    private static LibvirtDisk? Disk(XElement disk)
    {
        string type = disk.Value("type") is { Length: > 0 } given ? given : "file";
        XElement? source = disk.Child("source");
        string named = type switch
        {
            "file" => source.Value("file"),
            "block" => source.Value("dev"),
            "volume" => $"{source.Value("pool")}/{source.Value("volume")}".Trim('/'),
            _ => source.Value("name"),
        };
        if (source is null || named.Length == 0)
        {
            return null;
        }

        // libvirt takes a disk for raw when nothing is declared, so that a guest cannot choose the format.
        string format = disk.Child("driver").Value("type") switch { "" => "raw", "vpc" => "vhd", var declared => declared };
        return new LibvirtDisk(type, named, format);
    }
}

/// <summary>A disk of a domain.</summary>
/// <param name="Type"><c>file</c>; others are not files of this machine.</param>
/// <param name="Source">Path, device or name.</param>
/// <param name="Format">By <see cref="DiskReaders.Containers.IContainerFormat.Name"/> where there is such.</param>
internal sealed record LibvirtDisk(string Type, string Source, string Format);
