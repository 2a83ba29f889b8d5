using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>What libvirt is asked for. Spec: libvirt.org, "Backup XML format", "Checkpoint XML format", "Snapshot XML format".</summary>
internal static class BackupXml
{
    /// <param name="disks">Name of each disk, and its scratch file; null leaves it out.</param>
    /// <param name="since">The checkpoint since which changes are told, and the disks that have it; null: none are.</param>
    public static XElement Backup(string socket, IReadOnlyList<(string Disk, string? Scratch)> disks, (string Checkpoint, IReadOnlyList<string> Disks)? since = null) =>
        new(
            "domainbackup",
            new XAttribute("mode", "pull"),
            new XElement("server", new XAttribute("transport", "unix"), new XAttribute("socket", socket)),
            new XElement("disks", disks.Select(d => d.Scratch is null
                ? new XElement("disk", new XAttribute("name", d.Disk), new XAttribute("backup", "no"))
                : new XElement(
                    "disk",
                    new XAttribute("name", d.Disk),
                    new XAttribute("backup", "yes"),
                    new XAttribute("type", "file"),
                    new XAttribute("exportname", d.Disk),
                    since is not { } from ? null
                        : from.Disks.Contains(d.Disk) ? [new XAttribute("backupmode", "incremental"), new XAttribute("incremental", from.Checkpoint)]
                        : new object[] { new XAttribute("backupmode", "full") },
                    new XElement("scratch", new XAttribute("file", d.Scratch))))));

    /// <param name="disks">Name of each disk, and whether its changes are written down from now on.</param>
    public static XElement Checkpoint(string name, IReadOnlyList<(string Disk, bool IsTracked)> disks) =>
        new(
            "domaincheckpoint",
            new XElement("name", name),
            new XElement("disks", disks.Select(d => new XElement("disk", new XAttribute("name", d.Disk), new XAttribute("checkpoint", d.IsTracked ? "bitmap" : "no")))));

    /// <param name="disks">Name of each disk, and its overlay; null leaves it out.</param>
    public static XElement Snapshot(string name, IReadOnlyList<(string Disk, string? Overlay)> disks) =>
        new(
            "domainsnapshot",
            new XElement("name", name),
            new XElement("disks", disks.Select(d => d.Overlay is null
                ? new XElement("disk", new XAttribute("name", d.Disk), new XAttribute("snapshot", "no"))
                : new XElement(
                    "disk",
                    new XAttribute("name", d.Disk),
                    new XAttribute("snapshot", "external"),
                    new XElement("driver", new XAttribute("type", "qcow2")),
                    new XElement("source", new XAttribute("file", d.Overlay))))));
}
