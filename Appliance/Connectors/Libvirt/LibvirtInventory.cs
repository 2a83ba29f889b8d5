using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>A domain's XML as an inventory has it. Spec: libvirt.org, "Domain XML format".</summary>
internal static class LibvirtInventory
{
    public static InventoryVm Of(LibvirtDomain domain, string host)
    {
        XElement xml = domain.Xml();
        XElement? metadata = xml.Child("metadata");
        return new InventoryVm(
            xml.Child("uuid")?.Value.Trim() ?? "",
            xml.Child("name")?.Value.Trim() ?? "",
            domain.Power,
            host,
            "",
            metadata?.Descendants().FirstOrDefault(e => e.Name.LocalName == "os").Value("id") ?? "",
            [.. (metadata?.Elements() ?? []).Select(e => e.Name.NamespaceName).Where(n => n.Length > 0).Distinct()],
            Disks(xml));
    }

    /// <summary>Disks, without drives for media.</summary>
    public static List<InventoryDisk> Disks(XElement xml) =>
        [.. (xml.Child("devices")?.Children("disk") ?? []).Where(d => d.Value("device") is "" or "disk" or "lun").Select(Disk)];

    /// <summary>The account that QEMU runs as, by the label that libvirt gives it; null where it has none, which means this account.</summary>
    public static (uint User, uint Group)? Account(XElement xml)
    {
        string? label = xml.Children("seclabel").FirstOrDefault(s => s.Value("model") == "dac")?.Child("label")?.Value.Trim();
        string[] parts = label?.Split(':') ?? [];
        return parts.Length == 2 && uint.TryParse(parts[0].TrimStart('+'), out uint user) && uint.TryParse(parts[1].TrimStart('+'), out uint group) ? (user, group) : null;
    }

    private static InventoryDisk Disk(XElement disk)
    {
        string type = disk.Value("type") is { Length: > 0 } given ? given : "file";
        List<string> chain = [];
        for (XElement? layer = disk; layer is not null; layer = layer.Child("backingStore"))
        {
            if (Source(layer, layer == disk ? type : layer.Value("type")) is { Length: > 0 } source)
            {
                chain.Add(source);
            }
        }

        // libvirt takes a disk for raw when nothing is declared, so that a guest cannot choose the format.
        string format = disk.Child("driver").Value("type") switch { "" => "raw", "vpc" => "vhd", var declared => declared };
        return new InventoryDisk(disk.Child("target").Value("dev"), type, Source(disk, type), format, disk.Child("readonly") is not null, chain);
    }

    private static string Source(XElement layer, string type)
    {
        XElement? source = layer.Child("source");
        return type switch
        {
            "file" => source.Value("file"),
            "block" => source.Value("dev"),
            "volume" => $"{source.Value("pool")}/{source.Value("volume")}".Trim('/'),
            _ => source.Value("name"),
        };
    }
}
