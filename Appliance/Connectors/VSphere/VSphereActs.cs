using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>What may be done to a VM on a detection, each only when it was asked for by name.</summary>
internal static class VSphereActs
{
    private const string Mark = "[vmsweep ";

    /// <summary>vSphere keeps no longer notes.</summary>
    private const int MostNote = 4000;

    public static ActReport Do(VSphereConnector connector, MoRef vm, VmAct act, string note, TimeProvider time) => act switch
    {
        VmAct.Annotate => Annotate(connector, vm, note, time),
        VmAct.Suspend => Suspend(connector, vm),
        VmAct.Disconnect => Disconnect(connector, vm),
        VmAct.Tag => Tag(connector, vm),
        _ => throw new ArgumentOutOfRangeException(nameof(act)),
    };

    private static ActReport Annotate(VSphereConnector connector, MoRef vm, string note, TimeProvider time)
    {
        string before = connector.Properties.Get(vm, "config.annotation").Text("config.annotation");
        string when = time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        string line = $"{Mark}{when}] {note}";

        // What people wrote stays; our own earlier line gives way.
        string kept = string.Join('\n', before.Split('\n').Where(l => !l.StartsWith(Mark, StringComparison.Ordinal)));
        string after = kept.Length > 0 ? $"{kept}\n{line}" : line;
        if (after.Length > MostNote)
        {
            return new ActReport("annotate", false, "the VM's notes have no room", "");
        }

        connector.Tasks.Reconfigure(vm, new XElement("spec", new XElement("annotation", after)));
        return new ActReport("annotate", true, "a line in the VM's notes", $"take the line \"{Mark}{when}]\" out of the notes of {vm.Value}");
    }

    private static ActReport Tag(VSphereConnector connector, MoRef vm)
    {
        if (!connector.Session.IsVCenter)
        {
            return new ActReport("tag", false, "a host by itself has no tags; its vCenter has", "");
        }

        RestTags.Attach(connector.Session, vm);
        return new ActReport(
            "tag",
            true,
            $"the VM has the tag \"{RestTags.TagName}\" of the category \"{RestTags.CategoryName}\"",
            $"Get-TagAssignment -Category {RestTags.CategoryName} -Entity (Get-VM -Id VirtualMachine-{vm.Value}) | Remove-TagAssignment -Confirm:$false");
    }

    private static ActReport Suspend(VSphereConnector connector, MoRef vm)
    {
        string power = VmFacts.PowerOf(connector.Properties.Get(vm, "runtime.powerState").Text("runtime.powerState"));
        if (power != "running")
        {
            return new ActReport("suspend", false, $"the VM is {power}; there is nothing to suspend", "");
        }

        connector.Tasks.Suspend(vm);
        return new ActReport("suspend", true, "the VM is suspended", $"power on {vm.Value} in vSphere");
    }

    private static ActReport Disconnect(VSphereConnector connector, MoRef vm)
    {
        List<XElement> cards =
        [
            .. (connector.Properties.Get(vm, "config.hardware.device")["config.hardware.device"]?.Elements() ?? [])
                .Where(d => d.Element("macAddress") is not null && d.Element("connectable") is { } c && (c.Text("connected") == "true" || c.Text("startConnected") == "true")),
        ];
        if (cards.Count == 0)
        {
            return new ActReport("disconnect", false, "the VM has no connected network card", "");
        }

        string[] addresses = [.. cards.Select(c => c.Text("macAddress"))];
        foreach (XElement card in cards)
        {
            XElement connectable = card.Element("connectable")!;
            connectable.Element("connected")?.SetValue("false");
            connectable.Element("startConnected")?.SetValue("false");
        }

        connector.Tasks.Reconfigure(
            vm,
            new XElement("spec", cards.Select(c => new XElement("deviceChange", new XAttribute(VimXml.Kind, "VirtualDeviceConfigSpec"), new XElement("operation", "edit"), Device(c)))));
        return new ActReport("disconnect", true, $"network cards unplugged: {string.Join(", ", addresses)}", $"connect {string.Join(", ", addresses)} of {vm.Value} in vSphere");
    }

    /// <summary>The device as it was told, under the name that a change has it by.</summary>
    private static XElement Device(XElement card) => new("device", card.Attributes(), card.Elements());
}
