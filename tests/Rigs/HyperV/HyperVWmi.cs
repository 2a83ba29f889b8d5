using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Vmsweep.Rigs.HyperV;

/// <summary>WMI of one host as WS-Management shows it. Spec: DSP0226, DSP0227, MS-WSMV; classes and methods: "Hyper-V WMI provider (V2)".</summary>
internal sealed partial class HyperVWmi(HyperVRig rig, string node)
{
    public static readonly XNamespace Addressing = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
    private static readonly XNamespace Soap = "http://www.w3.org/2003/05/soap-envelope";
    private static readonly XNamespace WsMan = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
    private static readonly XNamespace Enumeration = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
    private static readonly XNamespace Xsi = "http://www.w3.org/2001/XMLSchema-instance";
    private static readonly XNamespace FaultDetail = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault";

    private const string Classes = "http://schemas.microsoft.com/wbem/wsman/1/wmi/";
    private const string Virtualization = "root/virtualization/v2";

    private readonly Dictionary<string, Queue<XElement>> _enumerations = new(StringComparer.Ordinal);

    private IEnumerable<HyperVMachine> Here => rig.Machines.Where(m => m.Node == node);

    public static XElement Fault(string kind, string text, long code = 0) => Envelope(new XElement(
        Soap + "Fault",
        new XElement(Soap + "Code", new XElement(Soap + "Value", "s:Sender"), new XElement(Soap + "Subcode", new XElement(Soap + "Value", "w:" + kind))),
        new XElement(Soap + "Reason", new XElement(Soap + "Text", text)),
        new XElement(Soap + "Detail", new XElement(FaultDetail + "WSManFault", new XAttribute("Code", code), new XAttribute("Machine", "127.0.0.1"), new XElement(FaultDetail + "Message", text)))));

    public (int Status, XElement Answer) Answer(XElement message, string what, bool isJobFailing)
    {
        string resource = message.Element(Soap + "Header")!.Descendants(WsMan + "ResourceURI").Single().Value;
        string space = resource[Classes.Length..resource.LastIndexOf('/')], type = resource[(resource.LastIndexOf('/') + 1)..];
        XElement? body = message.Element(Soap + "Body")!.Elements().FirstOrDefault();
        lock (rig.World)
        {
            if (space != Virtualization && !(space == "root/mscluster" && rig.IsCluster))
            {
                return (500, Fault("CannotProcessFilter", "The namespace is not there.", 0x8004_100E));
            }

            switch (what)
            {
                case "Enumerate":
                    return Enumerate(space, body!.Element(WsMan + "Filter")!.Value);
                case "Pull":
                    string context = body!.Element(Enumeration + "EnumerationContext")!.Value;
                    return _enumerations.TryGetValue(context, out Queue<XElement>? left) ? (200, Page("PullResponse", Enumeration, context, left)) : (500, Fault("InvalidEnumerationContext", "unknown"));
                case "Get":
                    string id = message.Descendants(WsMan + "Selector").Single().Value;
                    return type == "Msvm_ConcreteJob" && rig.Jobs.TryGetValue(id, out HyperVJob? job)
                        ? (200, Envelope(Instance(space, type, ("InstanceID", id), ("JobState", job.State), ("ErrorDescription", job.Error ?? ""), ("ErrorCode", job.Error is null ? "0" : "32768"))))
                        : (500, Fault("InvalidSelectors", "not found", 0x8004_1002));
                default:
                    return Invoke(message, type, resource, what, body!, isJobFailing);
            }
        }
    }

    private (int, XElement) Enumerate(string space, string wql)
    {
        Queue<XElement> found;
        if (Associators().Match(wql) is { Success: true } made)
        {
            HyperVJob? job = rig.Jobs.GetValueOrDefault(Unquoted(made.Groups["job"].Value));
            found = new(job?.Made is { } of ? Objects(space, of.Type).Where(o => Text(o, "InstanceID") == of.Id) : []);
        }
        else if (Select().Match(wql) is { Success: true } select)
        {
            string key = select.Groups["key"].Value, value = Unquoted(select.Groups["value"].Value);
            bool isLike = select.Groups["is"].Value == "LIKE";
            found = new(Objects(space, select.Groups["class"].Value)
                .Where(o => key.Length == 0 || (isLike ? Text(o, key).StartsWith(value.TrimEnd('%'), StringComparison.OrdinalIgnoreCase) : Text(o, key).Equals(value, StringComparison.OrdinalIgnoreCase))));
        }
        else
        {
            return (500, Fault("CannotProcessFilter", "no such query: " + wql));
        }

        string context = "uuid:" + Guid.NewGuid().ToString("D");
        _enumerations[context] = found;
        return (200, Page("EnumerateResponse", WsMan, context, found));
    }

    private XElement Page(string name, XNamespace items, string context, Queue<XElement> left)
    {
        var page = new XElement(items + "Items");
        for (int i = 0; i < rig.PageItems && left.TryDequeue(out XElement? next); i++)
        {
            page.Add(next);
        }

        if (left.Count == 0)
        {
            _enumerations.Remove(context);
        }

        return Envelope(new XElement(Enumeration + name, new XElement(Enumeration + "EnumerationContext", left.Count > 0 ? context : ""), page, left.Count == 0 ? new XElement(items + "EndOfSequence") : null));
    }

    private IEnumerable<XElement> Objects(string space, string type)
    {
        switch (type)
        {
            case "MSCluster_Node":
                return rig.Nodes.Select(n => Instance(space, type, ("Name", n), ("State", rig.Down.Contains(n) ? "1" : "0")));
            case "MSCluster_Resource":
                return rig.Machines.Select(m =>
                {
                    XElement resource = Instance(space, type, ("Name", "Virtual Machine " + m.Name), ("Type", "Virtual Machine"), ("OwnerGroup", m.Name), ("OwnerNode", m.Node));
                    resource.Add(new XElement(resource.Name.Namespace + "PrivateProperties", new XElement(resource.Name.Namespace + "VmID", m.Id.ToLowerInvariant())));
                    return resource;
                });
            case "Msvm_ComputerSystem":
                return Here.Select(Computer).Prepend(Instance(space, type, ("Name", node), ("ElementName", node), ("EnabledState", "2"), ("CreationClassName", type)));
            case "Msvm_VirtualSystemSettingData":
                return Here.SelectMany(m => m.Checkpoints.Select(c => Setting(m, c.Id, c.Name, c.IsRecovery ? "Snapshot:Recovery" : "Snapshot:Realized", c.Created)).Prepend(Setting(m, m.SettingsId, m.Name, "System:Realized", "2024-01-01T00:00:00Z")));
            case "Msvm_StorageAllocationSettingData":
                return Here.SelectMany(m => m.Checkpoints.SelectMany(c => Storage(c.Id, c.Tops)).Concat(Storage(m.SettingsId, m.Disks)));
            case "Msvm_ResourceAllocationSettingData":
                return Here.SelectMany(m => m.Physical.Select((p, i) => Instance(space, type, ("InstanceID", $@"{m.SettingsId}\P\{i}\D"), ("ResourceSubType", "Microsoft:Hyper-V:Physical Disk Drive"), ("HostResource", p))));
            case "Msvm_EthernetPortAllocationSettingData":
                return Here.Select(m => Instance(space, type, ("InstanceID", $@"{m.SettingsId}\N\C"), ("EnabledState", m.IsConnected ? "2" : "3")));
            case "Msvm_VirtualSystemReferencePoint":
                return Here.SelectMany(m => m.References.Select(r => Instance(space, type, ("InstanceID", r.Id), ("VirtualSystemIdentifier", m.Id), ("VirtualDiskIdentifiers", DiskId(m, 0)), ("ResilientChangeTrackingIdentifiers", r.Rct))));
            default:
                return type.EndsWith("Service", StringComparison.Ordinal)
                    ? [Instance(space, type, ("CreationClassName", type), ("Name", "n" + type.Length), ("SystemCreationClassName", "Msvm_ComputerSystem"), ("SystemName", node))]
                    : [];
        }
    }

    private static XElement Computer(HyperVMachine machine)
    {
        XElement computer = Instance(Virtualization, "Msvm_ComputerSystem", ("Name", machine.Id), ("ElementName", machine.Name), ("EnabledState", machine.State), ("CreationClassName", "Msvm_ComputerSystem"), ("OperationalStatus", "2"));
        if (machine.Operation is { } operation)
        {
            computer.Add(new XElement(computer.Name.Namespace + "OperationalStatus", operation));
        }

        return computer;
    }

    private static XElement Setting(HyperVMachine machine, string id, string name, string kind, string created)
    {
        XElement setting = Instance(
            Virtualization,
            "Msvm_VirtualSystemSettingData",
            ("InstanceID", id),
            ("ElementName", name),
            ("VirtualSystemIdentifier", machine.Id),
            ("VirtualSystemType", "Microsoft:Hyper-V:" + kind),
            ("VirtualSystemSubType", "Microsoft:Hyper-V:SubType:2"),
            ("ConfigurationDataRoot", HyperVRig.Volume),
            ("Notes", machine.Notes));
        setting.Add(new XElement(setting.Name.Namespace + "CreationTime", new XElement(XNamespace.Get("http://schemas.dmtf.org/wbem/wscim/1/common") + "Datetime", created)));
        return setting;
    }

    private static IEnumerable<XElement> Storage(string owner, IReadOnlyList<string> disks) =>
        disks.Select((d, i) => Instance(Virtualization, "Msvm_StorageAllocationSettingData", ("InstanceID", $@"{owner}\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\0\{i}\L"), ("ResourceSubType", "Microsoft:Hyper-V:Virtual Hard Disk"), ("HostResource", d)))
            .Append(Instance(Virtualization, "Msvm_StorageAllocationSettingData", ("InstanceID", $@"{owner}\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\1\0\L"), ("ResourceSubType", "Microsoft:Hyper-V:Virtual CD/DVD Disk"), ("HostResource", @"D:\install.iso")));

    internal static string DiskId(HyperVMachine machine, int disk) => new Guid(Guid.Parse(machine.Id).ToByteArray().Select(b => (byte)(b ^ (disk + 1))).ToArray()).ToString("B");

    private static XElement Instance(string space, string type, params (string Name, string Value)[] properties)
    {
        XNamespace own = $"{Classes}{space}/{type}";
        return new XElement(own + type, new XAttribute(XNamespace.Xmlns + "p", own), properties.Select(p => p.Value.Length > 0 ? new XElement(own + p.Name, Sayable(p.Value)) : new XElement(own + p.Name, new XAttribute(Xsi + "nil", "true"))));
    }

    private static XElement Envelope(XElement content) => new(Soap + "Envelope", new XElement(Soap + "Header"), new XElement(Soap + "Body", content));

    private static string Text(XElement instance, string name) => instance.Elements().FirstOrDefault(e => e.Name.LocalName == name)?.Value ?? "";

    private static string Unquoted(string text) => text.Replace("\\\"", "\"", StringComparison.Ordinal).Replace("\\\\", "\\", StringComparison.Ordinal);

    private static string Sayable(string text) => string.Concat(text.Select(c => System.Xml.XmlConvert.IsXmlChar(c) ? c : '\uFFFD'));

    [GeneratedRegex("^SELECT \\* FROM (?<class>\\w+)( WHERE (?<key>\\w+) (?<is>=|LIKE) \"(?<value>.*)\")?$")]
    private static partial Regex Select();

    [GeneratedRegex("^ASSOCIATORS OF \\{Msvm_ConcreteJob\\.InstanceID=\"(?<job>.*)\"\\} WHERE AssocClass = Msvm_AffectedJobElement ResultClass = \\w+$")]
    private static partial Regex Associators();
}
