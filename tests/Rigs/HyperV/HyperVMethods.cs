using System.Globalization;
using System.Xml.Linq;

namespace Vmsweep.Rigs.HyperV;

/// <summary>Methods, each at once or as a job.</summary>
internal sealed partial class HyperVWmi
{
    private (int, XElement) Invoke(XElement message, string type, string resource, string method, XElement input, bool isJobFailing)
    {
        XNamespace own = resource;
        switch (method)
        {
            case "CreateSnapshot":
                HyperVMachine vm = Machine(Selector(input, "Name"));
                XElement settings = XElement.Parse(Argument(input, "SnapshotSettings"));
                if (Argument(input, "SnapshotType") != "32768" || vm.Checkpoints.Exists(c => c.IsRecovery))
                {
                    return Returned(own, method, "32775");
                }

                bool isDeaf = rig.IsGuestDeaf && Property(settings, "ConsistencyLevel") == "1";
                vm.Operation = "32768";
                return Job(own, method, job =>
                {
                    vm.Operation = null;
                    if (isDeaf || isJobFailing)
                    {
                        job.Error = isDeaf ? "the guest's writers do not answer" : "it failed as it was armed";
                        return;
                    }

                    HyperVCheckpoint made = vm.Checkpoint(rig.TakesNames ? Property(settings, "ElementName") : $"{vm.Name} - Backup", isRecovery: true);
                    job.Made = ("Msvm_VirtualSystemSettingData", made.Id);
                });
            case "DestroySnapshot":
                (HyperVMachine of, HyperVCheckpoint checkpoint) = CheckpointOf(input);
                return checkpoint is null ? Returned(own, method, "4") : Job(own, method, job =>
                {
                    if (isJobFailing)
                    {
                        job.Error = "it failed as it was armed";
                        return;
                    }

                    of.Remove(checkpoint);
                });
            case "ConvertToReferencePoint":
                (HyperVMachine owner, HyperVCheckpoint from) = CheckpointOf(input);
                return from is null ? Returned(own, method, "4") : Job(own, method, job =>
                {
                    if (isJobFailing)
                    {
                        job.Error = "it failed as it was armed";
                        return;
                    }

                    var reference = new HyperVReference("Microsoft:" + Guid.NewGuid().ToString("D"), "rctX:" + Guid.NewGuid().ToString("D"), from.Written);
                    owner.References.Add(reference);
                    owner.Remove(from);
                    job.Made = ("Msvm_VirtualSystemReferencePoint", reference.Id);
                });
            case "DestroyReferencePoint":
                string point = Selector(input, "InstanceID");
                return Job(own, method, _ => rig.Machines.ForEach(m => m.References.RemoveAll(r => r.Id == point)));
            case "GetVirtualHardDiskSettingData":
                return DiskSettings(own, method, Argument(input, "Path"));
            case "GetVirtualDiskChanges":
                return Changes(own, method, input);
            case "GetSummaryInformation":
                return (200, Envelope(new XElement(
                    own + (method + "_OUTPUT"),
                    input.Descendants(WsMan + "Selector").Select(s => new XElement(own + "SummaryInformation", new XElement(own + "Name", s.Value["Microsoft:".Length..]), new XElement(own + "GuestOperatingSystem", "Windows Server 2022"))),
                    new XElement(own + "ReturnValue", "0"))));
            case "ModifySystemSettings":
                return Modify(own, method, XElement.Parse(Argument(input, "SystemSettings")));
            case "ModifyResourceSettings":
                XElement resourceSettings = XElement.Parse(Argument(input, "ResourceSettings"));
                HyperVMachine wired = Here.Single(m => Property(resourceSettings, "InstanceID").StartsWith(m.SettingsId, StringComparison.Ordinal));
                wired.IsConnected = Property(resourceSettings, "EnabledState") != "3";
                return Returned(own, method, "0");
            case "RequestStateChange":
                HyperVMachine changed = Machine(message.Descendants(WsMan + "Selector").Single(s => (string?)s.Attribute("Name") == "Name").Value);
                string state = Argument(input, "RequestedState");
                return Job(own, method, _ => changed.State = state);
            default:
                return (500, Fault("ActionNotSupported", $"{type} has no {method}"));
        }
    }

    private (int, XElement) Modify(XNamespace own, string method, XElement settings)
    {
        string id = Property(settings, "InstanceID");
        foreach (HyperVMachine machine in Here)
        {
            if (machine.SettingsId == id)
            {
                machine.Notes = settings.Elements("PROPERTY.ARRAY").Single(p => (string?)p.Attribute("NAME") == "Notes").Value;
                return Returned(own, method, "0");
            }

            if (machine.Checkpoints.Find(c => c.Id == id) is { } checkpoint)
            {
                return Job(own, method, _ => checkpoint.Name = Property(settings, "ElementName"));
            }
        }

        return Returned(own, method, "32773");
    }

    private (int, XElement) DiskSettings(XNamespace own, string method, string path)
    {
        (HyperVMachine? owner, int disk) = OwnerOf(path);
        if (!rig.Elsewhere.Contains(path) && (!path.StartsWith(HyperVRig.Volume, StringComparison.OrdinalIgnoreCase) || !File.Exists(rig.FileOf(path))))
        {
            return Returned(own, method, "32768");
        }

        string Value(string name, string type, string value) => $"<PROPERTY NAME=\"{name}\" TYPE=\"{type}\"><VALUE>{System.Security.SecurityElement.Escape(value)}</VALUE></PROPERTY>";
        string parent = rig.Machines.Select(m => m.ParentOf(path)).FirstOrDefault(p => p.Length > 0) ?? "";
        string text = "<INSTANCE CLASSNAME=\"Msvm_VirtualHardDiskSettingData\">" + Value("Path", "string", path) + (parent.Length > 0 ? Value("ParentPath", "string", parent) : "<PROPERTY NAME=\"ParentPath\" TYPE=\"string\"></PROPERTY>")
            + Value("MaxInternalSize", "uint64", (48L << 20).ToString(CultureInfo.InvariantCulture)) + (owner is null ? "" : Value("VirtualDiskId", "string", DiskId(owner, disk))) + "</INSTANCE>";
        return (200, Envelope(new XElement(own + (method + "_OUTPUT"), new XElement(own + "SettingData", text), new XElement(own + "ReturnValue", "0"))));
    }

    private (int, XElement) Changes(XNamespace own, string method, XElement input)
    {
        (HyperVMachine? owner, int disk) = OwnerOf(Argument(input, "Path"));
        HyperVReference? since = owner?.References.Find(r => r.Rct == Argument(input, "LimitId"));
        long from = long.Parse(Argument(input, "ByteOffset"), CultureInfo.InvariantCulture), length = long.Parse(Argument(input, "ByteLength"), CultureInfo.InvariantCulture);
        if (since is null || length >= 48L << 20)
        {
            return Returned(own, method, "32773");
        }

        long processed = Math.Min(length, rig.MostProcessed), to = from + processed;
        int until = owner!.Checkpoints.LastOrDefault()?.Written ?? owner.Written.Count;
        (long Offset, long Length)[] changed = disk > 0 ? [] :
        [
            .. owner.Written.Take(until).Skip(since.Written).Select(w => (Math.Max(w.Offset, from), Math.Min(w.Offset + w.Length, to) - Math.Max(w.Offset, from))).Where(w => w.Item2 > 0).OrderBy(w => w.Item1),
        ];
        return (200, Envelope(new XElement(
            own + (method + "_OUTPUT"),
            new XElement(own + "ProcessedByteLength", processed),
            changed.Select(c => new XElement(own + "ChangedByteOffsets", c.Offset)),
            changed.Select(c => new XElement(own + "ChangedByteLengths", c.Length)),
            new XElement(own + "ReturnValue", "0"))));
    }

    private (HyperVMachine? Owner, int Disk) OwnerOf(string path)
    {
        foreach (HyperVMachine machine in rig.Machines)
        {
            int at = machine.Disks.FindIndex(d => d.Equals(path, StringComparison.OrdinalIgnoreCase));
            at = at >= 0 ? at : machine.Checkpoints.Select(c => c.Tops.ToList().FindIndex(d => d.Equals(path, StringComparison.OrdinalIgnoreCase))).DefaultIfEmpty(-1).Max();
            if (at >= 0)
            {
                return (machine, at);
            }
        }

        return (null, 0);
    }

    private (int, XElement) Job(XNamespace own, string method, Action<HyperVJob> act)
    {
        string id = Guid.NewGuid().ToString("D").ToUpperInvariant();
        HyperVJob? job = null;
        job = new HyperVJob
        {
            Id = id,
            Work = Task.Factory.StartNew(
                () =>
                {
                    Thread.Sleep(rig.JobTime);
                    lock (rig.World)
                    {
                        act(job!);
                    }
                },
                CancellationToken.None,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default),
        };
        rig.Jobs[id] = job;
        return (200, Envelope(new XElement(
            own + (method + "_OUTPUT"),
            new XElement(
                own + "Job",
                new XElement(Addressing + "Address", "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"),
                new XElement(
                    Addressing + "ReferenceParameters",
                    new XElement(WsMan + "ResourceURI", $"{Classes}{Virtualization}/Msvm_ConcreteJob"),
                    new XElement(WsMan + "SelectorSet", new XElement(WsMan + "Selector", new XAttribute("Name", "__cimnamespace"), Virtualization), new XElement(WsMan + "Selector", new XAttribute("Name", "InstanceID"), id)))),
            new XElement(own + "ReturnValue", "4096"))));
    }

    private static (int, XElement) Returned(XNamespace own, string method, string value) => (200, Envelope(new XElement(own + (method + "_OUTPUT"), new XElement(own + "ReturnValue", value))));

    private HyperVMachine Machine(string id) => Here.Single(m => m.Id.Equals(id, StringComparison.OrdinalIgnoreCase));

    private (HyperVMachine, HyperVCheckpoint) CheckpointOf(XElement input)
    {
        string id = Selector(input, "InstanceID");
        return Here.SelectMany(m => m.Checkpoints.Select(c => (m, c))).FirstOrDefault(p => p.c.Id == id);
    }

    private static string Selector(XElement input, string name) => input.Descendants(WsMan + "Selector").Single(s => (string?)s.Attribute("Name") == name).Value;

    private static string Argument(XElement input, string name) => input.Elements().First(e => e.Name.LocalName == name).Value;

    private static string Property(XElement instance, string name) => instance.Elements("PROPERTY").First(p => (string?)p.Attribute("NAME") == name).Value;
}
