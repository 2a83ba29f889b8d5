using System.Globalization;
using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Leases;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Disks of a snapshot, attached to the VM that this appliance is and read as disks of this machine. What a disk's file holds is never changed: a host keeps
/// what is written to an independent non-persistent disk in a file of the VM that it is attached to, and no change here asks for a file to be made or removed.
/// Spec: vSphere API, VirtualMachine.ReconfigVM_Task, VirtualDeviceConfigSpec.
/// </summary>
internal sealed class HotAdd(VSphereConnector connector, Lease lease) : IDisposable
{
    public const string Mode = "independent_nonpersistent";

    private const string OwnKey = "ownVm";
    private const string OwnIdKey = "ownVmId";

    /// <summary>Of each file that is attached, with a number after it.</summary>
    private const string FileKey = "attached";

    private const int MostAttempts = 5;

    /// <summary>Two views of this process would take the same unit.</summary>
    private static readonly Lock Changing = new();

    private readonly AttachedDisks _disks = new(connector.Machine);
    private readonly List<IBlockSource> _open = [];
    private OwnVm? _own;
    private string? _unready;

    /// <summary>Why nothing can be attached at all; null where something may.</summary>
    public string? Obstacle()
    {
        if (_own is null && _unready is null)
        {
            try
            {
                OwnVm own = connector.Own();
                own.Ready(connector);
                _own = own;
            }
            catch (IOException e)
            {
                _unready = e.Message;
            }
        }

        return _unready;
    }

    /// <summary>Attaches a disk of a snapshot. Where it cannot be read here it is not attached afterwards.</summary>
    /// <param name="vm">Whose disk it is.</param>
    /// <returns>Its bytes, disposed with this; or why there are none.</returns>
    /// <exception cref="IOException">It may still be attached.</exception>
    public (IBlockSource? Source, string Why) Attach(MoRef vm, DiskFacts disk, MoRef? datastore)
    {
        if (Obstacle() is { } unready)
        {
            return (null, unready);
        }

        MoRef own = _own!.Reference;
        try
        {
            if (own == vm)
            {
                throw new IOException("it is a disk of this appliance, which has it already");
            }

            if (disk.CapacityBytes <= 0)
            {
                throw new IOException("the host does not tell its size, by which it would be known");
            }

            if (_disks.Has(disk.Uuid))
            {
                throw new IOException($"a disk with the uuid {disk.Uuid} is attached to this appliance already");
            }

            if (_own.Host is { } host && datastore is { } store && connector.Properties.Get(host, "datastore")["datastore"]?.Elements().Any(d => MoRef.Of(d) == store) == false)
            {
                throw new IOException("the host that this appliance runs on has not the disk's datastore");
            }
        }
        catch (IOException e)
        {
            return (null, e.Message);
        }

        bool isAsked = false;
        try
        {
            Add(own, disk, ref isAsked);
            OwnVm now = OwnVm.Read(connector, own);
            if (now.Attached(disk.File) is not { } attached)
            {
                throw new IOException($"{now.Name} was to get the disk, and has not got it");
            }

            if (!attached.Disk.Uuid.Equals(disk.Uuid, StringComparison.OrdinalIgnoreCase))
            {
                throw new IOException($"the disk has the uuid {disk.Uuid} in its VM, and \"{attached.Disk.Uuid}\" in {now.Name}");
            }

            IBlockSource source = _disks.Open(disk.Uuid, disk.CapacityBytes);
            _open.Add(source);
            Log.Information("{File} is attached to {Vm} as {Slot}", disk.File, now.Name, attached.Disk.Name);
            return (source, "");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (isAsked)
            {
                Remove(connector, own, disk.File);
            }
            else
            {
                // Whoever has attached the same file, it was not this: it stays, also when the lease ends.
                Forget(disk.File);
            }

            return (null, e.Message);
        }
    }

    /// <summary>Closes what is open. Nothing is detached by that.</summary>
    public void Dispose()
    {
        _open.ForEach(s => s.Dispose());
        _open.Clear();
    }

    /// <summary>Detaches the disks of a lease, as far as they are attached.</summary>
    /// <exception cref="IOException">One is, still.</exception>
    public static void Detach(VSphereConnector connector, LeaseRecord lease)
    {
        string[] files = [.. lease.Details.Where(d => d.Key.StartsWith(FileKey, StringComparison.Ordinal)).Select(d => d.Value)];
        if (files.Length == 0 || connector.Locate(lease.Details[OwnIdKey], lease.Details[OwnKey]) is not { } own)
        {
            return;
        }

        // What was asked for right before its asker was killed.
        connector.Tasks.Settle(own, VmTasks.MostCreate, "ReconfigVM_Task");
        foreach (string file in files)
        {
            Remove(connector, own, file);
        }
    }

    private void Forget(string file) =>
        lease.Update(r => r with { Details = r.Details.Where(d => d.Value != file || !d.Key.StartsWith(FileKey, StringComparison.Ordinal)).ToDictionary() });

    /// <param name="isAsked">The host may have carried out what it was asked for.</param>
    private void Add(MoRef own, DiskFacts disk, ref bool isAsked)
    {
        lock (Changing)
        {
            for (int attempt = 1; ; attempt++)
            {
                OwnVm now = OwnVm.Read(connector, own);
                if (now.Disks.Any(d => d.Chain.Contains(disk.File) || d.Uuid.Equals(disk.Uuid, StringComparison.OrdinalIgnoreCase)))
                {
                    throw new IOException($"{now.Name} has the disk, or another one with its uuid, already");
                }

                (string controller, int unit) = now.FreeSlot() ?? throw new IOException(now.NoSlot);
                if (attempt == 1)
                {
                    lease.Update(r => r with
                    {
                        Details = new Dictionary<string, string>(r.Details)
                        {
                            [OwnKey] = own.Value,
                            [OwnIdKey] = now.InstanceUuid,
                            [Enumerable.Range(0, int.MaxValue).Select(i => string.Create(CultureInfo.InvariantCulture, $"{FileKey}{i}")).First(k => !r.Details.ContainsKey(k))] = disk.File,
                        },
                    });
                }

                var device = new XElement(
                    "device",
                    new XAttribute(VimXml.Kind, "VirtualDisk"),
                    new XElement("key", "-1"),
                    new XElement("backing", new XAttribute(VimXml.Kind, disk.Backing), new XElement("fileName", disk.File), new XElement("diskMode", Mode)),
                    new XElement("controllerKey", controller),
                    new XElement("unitNumber", unit.ToString(CultureInfo.InvariantCulture)),
                    new XElement("capacityInKB", (disk.CapacityBytes / 1024).ToString(CultureInfo.InvariantCulture)));
                isAsked = true;
                if (TryChange(connector, now, "add", device, attempt))
                {
                    return;
                }

                isAsked = false;
            }
        }
    }

    private static void Remove(VSphereConnector connector, MoRef own, string file)
    {
        lock (Changing)
        {
            for (int attempt = 1; ; attempt++)
            {
                OwnVm now = OwnVm.Read(connector, own);
                if (now.Attached(file) is not { } attached)
                {
                    return;
                }

                if (attempt > MostAttempts)
                {
                    throw new ConnectorException($"{file} is still attached to {now.Name} as {attached.Disk.Name}");
                }

                // As it was told, and with no word on its file: that stays.
                TryChange(connector, now, "remove", new XElement("device", attached.Device.Attributes(), attached.Device.Elements()), attempt);
            }
        }
    }

    /// <summary>Changes the appliance's VM; false where somebody else was changing it, or nobody knows whether it was done.</summary>
    private static bool TryChange(VSphereConnector connector, OwnVm own, string operation, XElement device, int attempt)
    {
        try
        {
            connector.Tasks.Reconfigure(own.Reference, new XElement(
                "spec",
                own.ChangeVersion.Length > 0 ? new XElement("changeVersion", own.ChangeVersion) : null,
                new XElement("deviceChange", new XAttribute(VimXml.Kind, "VirtualDeviceConfigSpec"), new XElement("operation", operation), device)));
            return true;
        }
        catch (LostAnswerException)
        {
            connector.Tasks.Settle(own.Reference, VmTasks.MostCreate, "ReconfigVM_Task");
            return operation == "add";
        }
        catch (VimFaultException e) when (e.Kind is "ConcurrentAccess" or "TaskInProgress" or "InvalidDeviceSpec" && attempt < MostAttempts)
        {
            Log.Information("{Vm} is being changed by others: {Reason}", own.Name, e.Message);
            Thread.Sleep(TimeSpan.FromMilliseconds(100 << attempt));
            return false;
        }
    }
}
