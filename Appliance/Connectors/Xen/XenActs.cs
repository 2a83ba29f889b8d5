using System.Globalization;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>What may be done to a VM on a detection, each only when it was asked for by name.</summary>
internal static class XenActs
{
    private const string Tag = "vmsweep-detection";
    private const string NoteKey = "vmsweep_detection";

    public static ActReport Do(XapiSession session, string uuid, VmAct act, string note, TimeProvider time)
    {
        string vm = session.Find("VM", uuid) ?? throw new ConnectorException($"there is no VM {uuid} any more");
        return act switch
        {
            VmAct.Annotate => Annotate(session, vm, uuid, note, time),
            VmAct.Suspend => Suspend(session, vm, uuid),
            VmAct.Disconnect => Disconnect(session, vm),
            VmAct.Tag => AddTag(session, vm, uuid),
            _ => throw new ArgumentOutOfRangeException(nameof(act)),
        };
    }

    private static ActReport Annotate(XapiSession session, string vm, string uuid, string note, TimeProvider time)
    {
        string when = time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        session.Do("VM.remove_from_other_config", vm, NoteKey);
        session.Do("VM.add_to_other_config", vm, NoteKey, $"{when} {note}");
        return new ActReport("annotate", true, "a note in the VM's other-config", $"xe vm-param-remove uuid={uuid} param-name=other-config param-key={NoteKey}");
    }

    private static ActReport AddTag(XapiSession session, string vm, string uuid)
    {
        session.Do("VM.add_tags", vm, Tag);
        return new ActReport("tag", true, $"the tag {Tag}", $"xe vm-param-remove uuid={uuid} param-name=tags param-key={Tag}");
    }

    private static ActReport Suspend(XapiSession session, string vm, string uuid)
    {
        string power = XenVm.PowerOf(session.Record("VM", vm).Text("power_state"));
        if (power != "running")
        {
            return new ActReport("suspend", false, $"the VM is {power}; there is nothing to suspend", "");
        }

        new XenTasks(session).Run("VM.suspend", XenTasks.MostCreate, vm);
        return new ActReport("suspend", true, "the VM is suspended", $"xe vm-resume uuid={uuid}");
    }

    /// <summary>The lock lasts over restarts and asks nothing of the guest; a bridge that knows no locks has its cards unplugged.</summary>
    private static ActReport Disconnect(XapiSession session, string vm)
    {
        List<string> done = [], undo = [];
        foreach (string card in session.Record("VM", vm).Texts("VIFs"))
        {
            XapiRecord vif = session.Record("VIF", card);
            string mode = vif.Text("locking_mode"), uuid = vif.Text("uuid");
            if (mode == "disabled")
            {
                continue;
            }

            try
            {
                session.Do("VIF.set_locking_mode", card, "disabled");
                undo.Add($"xe vif-param-set uuid={uuid} locking-mode={(mode.Length > 0 ? mode : "network_default")}");
                done.Add(vif.Text("MAC"));
            }
            catch (XapiException) when (vif.Flag("currently_attached"))
            {
                session.Do("VIF.unplug", card);
                undo.Add($"xe vif-plug uuid={uuid}");
                done.Add(vif.Text("MAC") + " (until its next start)");
            }
        }

        return new ActReport("disconnect", done.Count > 0, done.Count > 0 ? $"network cards cut off: {string.Join(", ", done)}" : "the VM has no connected network card", string.Join("; ", undo));
    }
}
