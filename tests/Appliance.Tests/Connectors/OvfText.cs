namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Descriptors as VMware's and VirtualBox's exports look.</summary>
internal static class OvfText
{
    /// <param name="files">Id, href, and more attributes.</param>
    /// <param name="disks">Id and the file's id; more attributes may follow the id after a blank.</param>
    public static string Of((string Id, string Href, string More)[] files, (string Id, string File)[] disks, params (string Name, string[] Resources)[] systems) =>
        $"""
        <?xml version="1.0" encoding="UTF-8"?>
        <Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
          <References>{string.Concat(files.Select(f => $"<File ovf:href=\"{f.Href}\" ovf:id=\"{f.Id}\" {f.More}/>"))}</References>
          <DiskSection><Info>Disks</Info>{string.Concat(disks.Select(d => $"<Disk ovf:capacity=\"1\" ovf:fileRef=\"{d.File}\" ovf:diskId=\"{d.Id}\"/>"))}</DiskSection>
          {string.Concat(systems.Select(s => $"<VirtualSystem ovf:id=\"{s.Name}\"><Name>{s.Name}</Name><VirtualHardwareSection>{string.Concat(s.Resources.Select(r => $"<Item><rasd:HostResource>{r}</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>"))}</VirtualHardwareSection></VirtualSystem>"))}
        </Envelope>
        """;
}
