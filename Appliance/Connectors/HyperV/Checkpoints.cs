using System.Globalization;
using Serilog;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Leases;
using VmFacts = Vmsweep.Appliance.Connectors.HyperV.Wmi.VmFacts;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// Makes and removes the checkpoint of a view: a recovery checkpoint, as backup products make them, which never holds memory. Hyper-V lets no name be given
/// before it is there. So the lease has what tells it in every moment: our name among its settings and as its name afterwards, the job that makes it, its
/// id, and which checkpoints were there before.
/// </summary>
internal static class Checkpoints
{
    public const string NameKey = "checkpoint";
    public const string HostKey = "host";
    public const string Prefix = "vmsweep-";

    private const string BeforeKey = "before";
    private const string AskedKey = "asked";
    private const string JobKey = "job";
    private const string IdKey = "checkpointId";
    private const string LeafPrefix = "leaf.";

    private const string Service = "Msvm_VirtualSystemSnapshotService";

    /// <summary><c>SnapshotType</c> of a recovery checkpoint.</summary>
    private const string RecoverySnapshot = "32768";

    private const string ApplicationConsistent = "1";
    private const string CrashConsistent = "2";

    /// <summary>For a host to begin with what it merges in the background.</summary>
    private static readonly TimeSpan MostMergeStart = TimeSpan.FromSeconds(60);

    /// <summary>A host's clock is told in whole seconds.</summary>
    private static readonly TimeSpan ClockGrain = TimeSpan.FromSeconds(2);

    /// <summary>What the lease must have before anything is asked for.</summary>
    public static Dictionary<string, string> Describe(VmFacts vm, string key) => new()
    {
        [NameKey] = Prefix + key,
        [HostKey] = vm.Host.Name,
        [BeforeKey] = string.Join('\n', vm.Checkpoints.Select(c => c.Instance)),
        [AskedKey] = vm.Host.Client.HostTime?.ToString("O", CultureInfo.InvariantCulture) ?? "",
    };

    /// <param name="isProduction">The guest writes out first; where it cannot, it is made without.</param>
    /// <returns>The VM with the checkpoint, and the checkpoint.</returns>
    public static (VmFacts Vm, CheckpointFacts Made) Create(VmFacts vm, Lease lease, bool isProduction)
    {
        try
        {
            CreateOnce(vm, lease, isProduction ? ApplicationConsistent : CrashConsistent);
        }
        catch (WsManFaultException e) when (isProduction && !e.IsDenied && !e.IsGone)
        {
            Log.Information("{Vm}: no production checkpoint ({Reason}); it is read as after a power failure", vm.Name, e.Message);
            if (vm.Host.Find(vm.Id) is { } half && Ours(half, lease.Record) is { } left)
            {
                Destroy(half.Host, left.Instance);
            }

            CreateOnce(vm, lease, CrashConsistent);
        }

        VmFacts now = vm.Host.Find(vm.Id) ?? throw new ConnectorException($"{vm.Name} is not on {vm.Host.Name} any more");
        CheckpointFacts made = Ours(now, lease.Record) ?? throw new ConnectorException($"{vm.Name}: {vm.Host.Name} says that the checkpoint was made, and there is none");
        lease.Update(r => r with
        {
            Details = new Dictionary<string, string>([
                .. r.Details,
                KeyValuePair.Create(IdKey, made.Instance),
                .. now.Disks.Where(d => d.Path is not null).Select((d, i) => KeyValuePair.Create(LeafPrefix + i.ToString(CultureInfo.InvariantCulture), d.Path!.ToString())),
            ]),
        });
        if (made.Name != lease.Record.Details[NameKey])
        {
            Rename(now.Host, made, lease.Record.Details[NameKey]);
        }

        return (now, made);
    }

    /// <summary>The checkpoint of a lease; null where there is none.</summary>
    /// <exception cref="ConnectorException">It cannot be told which it is.</exception>
    public static CheckpointFacts? Ours(VmFacts vm, LeaseRecord lease)
    {
        if (vm.Checkpoints.FirstOrDefault(c => c.Name == lease.Details[NameKey]) is { } named)
        {
            return named;
        }

        if (lease.Details.TryGetValue(IdKey, out string? id))
        {
            return vm.Checkpoints.FirstOrDefault(c => c.Instance.Equals(id, StringComparison.OrdinalIgnoreCase));
        }

        string[] before = lease.Details[BeforeKey].Split('\n');
        List<CheckpointFacts> since = [.. vm.Checkpoints.Where(c => c.IsRecovery && !before.Contains(c.Instance, StringComparer.OrdinalIgnoreCase))];
        if (lease.Details.TryGetValue(JobKey, out string? job))
        {
            HashSet<string> made = new(vm.Host.MadeBy(job, "Msvm_VirtualSystemSettingData").Select(s => s.Text("InstanceID")), StringComparer.OrdinalIgnoreCase);
            if (since.FirstOrDefault(c => made.Contains(c.Instance)) is { } ofJob)
            {
                return ofJob;
            }
        }

        if (DateTimeOffset.TryParse(lease.Details[AskedKey], CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out DateTimeOffset asked))
        {
            since.RemoveAll(c => c.Created < asked - ClockGrain || c.Created > asked + HyperVHost.MostJob);
        }

        return since.Count < 2 ? since.FirstOrDefault()
            : throw new ConnectorException($"{vm.Name}: of the checkpoints {string.Join(", ", since.Select(c => $"\"{c.Name}\""))} one is of this scan and the others are not, and it cannot be told which");
    }

    /// <summary>Removes the checkpoint of a lease, and looks that what was written over it is merged.</summary>
    public static void Undo(VmFacts vm, LeaseRecord lease)
    {
        if (lease.Details.TryGetValue(JobKey, out string? job))
        {
            vm.Host.Settle(job);
        }

        VmFacts now = Settled(vm);
        if (Ours(now, lease) is { } ours)
        {
            Destroy(now.Host, ours.Instance);

            // Where no answer came, the host may be at it.
            for (long started = Environment.TickCount64; ; Thread.Sleep(200))
            {
                now = now.Host.Find(vm.Id) ?? throw new ConnectorException($"{lease.VmName} is not on {now.Host.Name} any more");
                if (now.Checkpoints.All(c => c.Instance != ours.Instance))
                {
                    break;
                }

                if (Environment.TickCount64 - started > MostMergeStart.TotalMilliseconds)
                {
                    throw new ConnectorException($"{lease.VmName}: the checkpoint {lease.Details[NameKey]} is still there");
                }
            }
        }

        LookMerged(now, lease);
    }

    /// <summary>What a host merges goes on by itself; where it does not begin, the overlay would grow for ever.</summary>
    public static void LookMerged(VmFacts vm, LeaseRecord lease)
    {
        HashSet<HostPath> leaves = [.. lease.Details.Where(d => d.Key.StartsWith(LeafPrefix, StringComparison.Ordinal)).Select(d => HostPath.Parse(d.Value)!)];
        VmFacts? now = vm;
        for (long started = Environment.TickCount64; now is not null && !now.IsMerging && now.Disks.Any(d => d.Path is not null && leaves.Contains(d.Path)); now = now.Host.Find(vm.Id))
        {
            if (Environment.TickCount64 - started > MostMergeStart.TotalMilliseconds)
            {
                throw new ConnectorException($"{lease.VmName}: the checkpoint is gone, and {vm.Host.Name} does not merge {string.Join(", ", leaves)}");
            }

            Thread.Sleep(200);
        }
    }

    public static void Destroy(HyperVHost host, string instance)
    {
        try
        {
            host.Do(host.Service(Service), "DestroySnapshot", null, new MethodArgument("AffectedSnapshot", HyperVHost.Settings(instance)));
        }
        catch (LostAnswerException e)
        {
            // Whether it is gone is looked at by who asked.
            Log.Information("no answer came to the removal of a checkpoint: {Reason}", e.Message);
        }
    }

    /// <summary>Turns a checkpoint into a reference point, to which later ones are compared; the checkpoint is gone with that.</summary>
    public static void Convert(HyperVHost host, string instance, Action<string> onJob) =>
        host.Do(host.Service(Service), "ConvertToReferencePoint", onJob, new MethodArgument("AffectedSnapshot", HyperVHost.Settings(instance)), new MethodArgument("ReferencePointSettings", ""));

    private static void CreateOnce(VmFacts vm, Lease lease, string consistency)
    {
        string settings = EmbeddedInstance.Write(
            "Msvm_VirtualSystemSnapshotSettingData",
            ("ConsistencyLevel", "uint8", consistency),
            ("ElementName", "string", lease.Record.Details[NameKey]),
            ("IgnoreNonSnapshottableDisks", "boolean", "true"));
        try
        {
            vm.Host.Do(
                vm.Host.Service(Service),
                "CreateSnapshot",
                job => lease.Update(r => r with { Details = new Dictionary<string, string>(r.Details) { [JobKey] = job } }),
                new MethodArgument("AffectedSystem", HyperVHost.Machine(vm.Id)),
                new MethodArgument("SnapshotSettings", settings),
                new MethodArgument("SnapshotType", RecoverySnapshot));
        }
        catch (LostAnswerException e)
        {
            // The host may make it all the same.
            VmFacts now = Settled(vm);
            if (Ours(now, lease.Record) is null)
            {
                throw new ConnectorException($"{vm.Name}: no answer came to the wish for a checkpoint, and there is none ({e.Message})", e);
            }
        }
    }

    private static void Rename(HyperVHost host, CheckpointFacts made, string name)
    {
        try
        {
            string settings = EmbeddedInstance.Write("Msvm_VirtualSystemSettingData", ("InstanceID", "string", made.Instance), ("ElementName", "string", name));
            host.Do(host.Service("Msvm_VirtualSystemManagementService"), "ModifySystemSettings", null, new MethodArgument("SystemSettings", settings));
        }
        catch (Exception e) when (e is WsManFaultException or LostAnswerException)
        {
            // Its id, which the lease has, tells it too.
            Log.Information("the checkpoint {Checkpoint} keeps the name that the host gave it: {Reason}", made.Instance, e.Message);
        }
    }

    /// <summary>The VM once its host has carried out what was asked of its checkpoints, by whomever.</summary>
    private static VmFacts Settled(VmFacts vm)
    {
        for (long started = Environment.TickCount64; ; Thread.Sleep(200))
        {
            VmFacts now = vm.Host.Find(vm.Id) ?? throw new ConnectorException($"{vm.Name} is not on {vm.Host.Name} any more");
            if (now.Operation is null || now.IsMerging || Environment.TickCount64 - started > HyperVHost.MostJob.TotalMilliseconds)
            {
                return now;
            }
        }
    }
}
