using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Reports;
using VmFacts = Vmsweep.Appliance.Connectors.HyperV.Wmi.VmFacts;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>What may be done to a VM on a detection, each only when it was asked for by name.</summary>
internal static class HyperVActs
{
    private const string Mark = "[vmsweep ";
    private const int MostNote = 4000;
    private const string Service = "Msvm_VirtualSystemManagementService";
    private const string Connection = "Msvm_EthernetPortAllocationSettingData";

    // RequestedState and EnabledState.
    private const string Offline = "6";
    private const string Disabled = "3";

    public static ActReport Do(VmFacts vm, VmAct act, string note, TimeProvider time) => act switch
    {
        VmAct.Annotate => Annotate(vm, note, time),
        VmAct.Suspend => Suspend(vm),
        VmAct.Disconnect => Disconnect(vm),
        VmAct.Tag => new ActReport("tag", false, "VMs of Hyper-V have no tags", ""),
        _ => throw new ArgumentOutOfRangeException(nameof(act)),
    };

    private static ActReport Annotate(VmFacts vm, string note, TimeProvider time)
    {
        string when = time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

        // What people wrote stays; our own earlier line gives way.
        string kept = string.Join('\n', vm.Notes.Split('\n').Where(l => !l.StartsWith(Mark, StringComparison.Ordinal)));
        string line = $"{Mark}{when}] {note}", after = kept.Length > 0 ? $"{kept}\n{line}" : line;
        if (after.Length > MostNote)
        {
            return new ActReport("annotate", false, "the VM's notes have no room", "");
        }

        string settings = EmbeddedInstance.Write("Msvm_VirtualSystemSettingData", ("InstanceID", "string", vm.Settings), ("Notes", "string", (string[])[after]));
        vm.Host.Do(vm.Host.Service(Service), "ModifySystemSettings", null, new MethodArgument("SystemSettings", settings));
        return new ActReport("annotate", true, "a line in the VM's notes", $"take the line \"{Mark}{when}]\" out of the notes of {vm.Id} on {vm.Host.Name}");
    }

    private static ActReport Suspend(VmFacts vm)
    {
        if (vm.Power != "running")
        {
            return new ActReport("suspend", false, $"the VM is {vm.Power}; there is nothing to suspend", "");
        }

        vm.Host.Do(HyperVHost.Machine(vm.Id), "RequestStateChange", null, new MethodArgument("RequestedState", Offline));
        return new ActReport("suspend", true, "the VM is saved", $"Start-VM of {vm.Id} on {vm.Host.Name}");
    }

    private static ActReport Disconnect(VmFacts vm)
    {
        List<XElement> connected = [.. vm.Host.PartsOf(Connection, vm.Settings).Where(c => c.Text("EnabledState").Trim() != Disabled)];
        if (connected.Count == 0)
        {
            return new ActReport("disconnect", false, "the VM has no connected network card", "");
        }

        vm.Host.Do(
            vm.Host.Service(Service),
            "ModifyResourceSettings",
            null,
            new MethodArgument("ResourceSettings", [.. connected.Select(c => EmbeddedInstance.Write(Connection, ("InstanceID", "string", c.Text("InstanceID")), ("EnabledState", "uint16", Disabled)))]));
        HashSet<string> still = [.. vm.Host.PartsOf(Connection, vm.Settings).Where(c => c.Text("EnabledState").Trim() != Disabled).Select(c => c.Text("InstanceID"))];
        return still.Count == 0
            ? new ActReport("disconnect", true, $"network cards unplugged: {connected.Count}", $"Connect-VMNetworkAdapter of {vm.Id} on {vm.Host.Name}")
            : new ActReport("disconnect", false, $"{still.Count} of {connected.Count} network cards are still connected", $"Connect-VMNetworkAdapter of {vm.Id} on {vm.Host.Name}");
    }
}
