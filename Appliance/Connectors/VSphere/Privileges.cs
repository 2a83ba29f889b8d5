using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>What the connector's account must be allowed, and by which calls it is used: the role in docs/ is held to this, and so are the calls.</summary>
internal static class Privileges
{
    /// <summary>Without them VMs cannot be scanned.</summary>
    public static readonly IReadOnlyList<(string Privilege, string Why)> Needed =
    [
        ("System.View", "to see the inventory"),
        ("Sessions.ValidateSession", "to keep the session"),
        ("Datastore.Browse", "to find files of datastores"),
        ("Datastore.FileManagement", "to read files of datastores"),
        ("VirtualMachine.State.CreateSnapshot", "to have running VMs stand still"),
        ("VirtualMachine.State.RemoveSnapshot", "to leave nothing behind"),
    ];

    /// <summary>Only for what is asked for with <c>--act</c>.</summary>
    public static readonly IReadOnlyList<(string Privilege, string Why)> OfActs =
    [
        ("VirtualMachine.Config.Annotation", "--act annotate"),
        ("VirtualMachine.Interact.Suspend", "--act suspend"),
        ("VirtualMachine.Interact.DeviceConnection", "--act disconnect, of a running VM"),
        ("VirtualMachine.Config.EditDevice", "--act disconnect"),
        ("InventoryService.Tagging.AttachTag", "--act tag"),
        ("InventoryService.Tagging.ObjectAttachable", "--act tag, from 7.0 on"),
        ("InventoryService.Tagging.CreateCategory", "--act tag, where there is no category vmsweep"),
        ("InventoryService.Tagging.CreateTag", "--act tag, where there is no tag vmsweep-detection"),
    ];

    /// <summary>Only where changed areas are asked for.</summary>
    public static readonly IReadOnlyList<(string Privilege, string Why)> OfChanges = [("VirtualMachine.Provisioning.DiskRandomRead", "allocated and changed areas of disks")];

    /// <summary>Only where disks without files are read by an export (<c>"spool"</c>).</summary>
    public static readonly IReadOnlyList<(string Privilege, string Why)> OfExports = [("VApp.Export", "disks of vSAN and vVol datastores")];

    /// <summary>Only with <c>"hotadd"</c> among the <c>"ways"</c>, and on the appliance's own VM.</summary>
    public static readonly IReadOnlyList<(string Privilege, string Why)> OfHotAdd =
    [
        ("VirtualMachine.Config.AddExistingDisk", "to attach a snapshot's disk to the appliance's own VM"),
        ("VirtualMachine.Config.RemoveDisk", "to detach it again"),
    ];

    /// <summary>Every method of the API that the connector calls, with the privilege it takes; empty: none beyond a session.</summary>
    public static readonly IReadOnlyDictionary<string, string> OfMethods = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["RetrieveServiceContent"] = "",
        ["Login"] = "",
        ["Logout"] = "",
        ["CurrentTime"] = "System.View",
        ["RetrievePropertiesEx"] = "System.View",
        ["ContinueRetrievePropertiesEx"] = "System.View",
        ["CreateContainerView"] = "System.View",
        ["DestroyView"] = "",
        ["FindByUuid"] = "System.View",
        ["HasPrivilegeOnEntity"] = "System.View",
        ["QueryChangedDiskAreas"] = "VirtualMachine.Provisioning.DiskRandomRead",
        ["ExportSnapshot"] = "VApp.Export",
        ["HttpNfcLeaseProgress"] = "VApp.Export",
        ["HttpNfcLeaseComplete"] = "VApp.Export",
        ["HttpNfcLeaseAbort"] = "VApp.Export",
        ["CreateSnapshot_Task"] = "VirtualMachine.State.CreateSnapshot",
        ["RemoveSnapshot_Task"] = "VirtualMachine.State.RemoveSnapshot",
        ["ConsolidateVMDisks_Task"] = "VirtualMachine.State.RemoveSnapshot",
        ["SuspendVM_Task"] = "VirtualMachine.Interact.Suspend",
        ["ReconfigVM_Task"] = "VirtualMachine.Config.Annotation",
    };

    /// <summary>Whether the session's account has a privilege on an object.</summary>
    public static bool Has(VSphereConnector connector, MoRef entity, string privilege)
    {
        string session = connector.Properties.Get(connector.Session.Service("sessionManager"), "currentSession")["currentSession"].Text("key");
        XElement answer = connector.Session.Ask(
            "HasPrivilegeOnEntity", connector.Session.Service("authorizationManager"), entity.Named("entity"), new XElement("sessionId", session), new XElement("privId", privilege));
        return answer.Elements("returnval").Any() && answer.Elements("returnval").All(r => r.Value is "true" or "1");
    }
}
