using System.Globalization;
using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Leases;
using VmFacts = Vmsweep.Appliance.Connectors.HyperV.Wmi.VmFacts;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// What tells a later view what changed since this one: resilient change tracking, of which a reference point keeps the ids of each disk at the moment of
/// the checkpoint that it was made from. It has a lease of its own, for it is meant to outlast the view.
/// </summary>
internal sealed class ReferencePoint : IViewChanges, IDisposable
{
    private const string BeforeKey = "before";
    private const string AskedKey = "asked";
    private const string JobKey = "job";
    private const string IdKey = "referencePoint";
    private const string Type = "Msvm_VirtualSystemReferencePoint";

    /// <summary>One answer covers no more; it may cover less.</summary>
    private const long MostPiece = 16L << 30;

    private const int MostAnswers = 10_000;
    private const int MostAreas = 4_000_000;

    private readonly HyperVConnector _connector;
    private readonly LeaseJournal _journal;
    private readonly Lease _lease;
    private readonly string? _since;
    private readonly Dictionary<string, DiskChain> _disks = new(StringComparer.Ordinal);
    private HyperVHost? _host;
    private string _checkpoint = "";
    private bool _isKept;
    private bool _isReleasing;

    private ReferencePoint(HyperVConnector connector, LeaseJournal journal, Lease lease, string? since) => (_connector, _journal, _lease, _since) = (connector, journal, lease, since);

    /// <summary>The checkpoint was used up for it.</summary>
    public bool IsConverted { get; private set; }

    public string? Mark => Checkpoints.Prefix + _lease.Record.Key;

    /// <summary>Writes down what is about to be made.</summary>
    public static ReferencePoint Begin(HyperVConnector connector, VmFacts vm, LeaseJournal journal, string? since)
    {
        IReadOnlyList<string> before = [.. Of(vm.Host, vm.Id).Select(r => r.Text("InstanceID"))];
        Lease lease = journal.Begin(HyperVConnector.ReferenceKind, connector.Name, vm.Id, vm.Name, _ => new Dictionary<string, string>
        {
            [Checkpoints.HostKey] = vm.Host.Name,
            [BeforeKey] = string.Join('\n', before),
        });
        return new ReferencePoint(connector, journal, lease, since);
    }

    /// <summary>The checkpoint that it is to be made from.</summary>
    public void Take(HyperVHost host, CheckpointFacts made) => (_host, _checkpoint) = (host, made.Instance);

    public void Knows(string disk, DiskChain chain) => _disks[disk] = chain;

    public IReadOnlyList<ChangedRange>? Of(VmDisk disk)
    {
        if (_host is null || _since is null || !_disks.TryGetValue(disk.Path, out DiskChain? chain) || chain is not { Bytes: > 0, Identity: { } identity } || Earlier() is not { } earlier)
        {
            return null;
        }

        string[] disks = [.. earlier.Elements("VirtualDiskIdentifiers").Select(e => e.Value.Trim())];
        string[] ids = [.. earlier.Elements("ResilientChangeTrackingIdentifiers").Select(e => e.Value.Trim())];
        int at = Array.FindIndex(disks, d => Guid.TryParse(d, out Guid id) && id == identity);
        return at >= 0 && disks.Length == ids.Length && ids[at].Length > 0 ? Changed(_host, disk.Path, ids[at], chain.Bytes) : null;
    }

    /// <summary>The checkpoint becomes the reference point: it is not read any more.</summary>
    public void Keep()
    {
        HyperVHost host = _host ?? throw new ConnectorException($"{_lease.Record.VmName}: there is no checkpoint to keep");
        Note(AskedKey, _checkpoint);
        try
        {
            IsConverted = true;
            Checkpoints.Convert(host, _checkpoint, job => Note(JobKey, job));
        }
        catch (LostAnswerException e)
        {
            Log.Information("no answer came to the wish for a reference point: {Reason}", e.Message);
        }

        XElement made = Made(host, _lease.Record) ?? throw new ConnectorException($"{_lease.Record.VmName}: {host.Name} made no reference point with ids of changes");
        Note(IdKey, made.Text("InstanceID"));
        _lease.Update(r => r with { IsKept = true });
        _isKept = true;
    }

    private void Note(string key, string value) => _lease.Update(r => r with { Details = new Dictionary<string, string>(r.Details) { [key] = value } });

    /// <summary>After the view's own lease has ended.</summary>
    public void Release() => _isReleasing = true;

    public void Dispose()
    {
        using (_lease)
        {
            if (!_isKept)
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }

            if (_isReleasing)
            {
                EarlierMarks.Release(_journal, _lease.Record, r => r.Connector == _connector.Name && r.VmId == _lease.Record.VmId, l => Undo(_connector, l.Record));
            }
        }
    }

    /// <summary>Removes the reference point of a lease, if it is there.</summary>
    public static void Undo(HyperVConnector connector, LeaseRecord lease)
    {
        // Nothing was asked for yet: what there is belongs to others.
        if (!lease.Details.ContainsKey(AskedKey) || connector.Find(lease.VmId, lease.Details[Checkpoints.HostKey]) is not { } vm)
        {
            return;
        }

        if (lease.Details.TryGetValue(JobKey, out string? job))
        {
            vm.Host.Settle(job);
        }

        if (Made(vm.Host, lease) is not { } made)
        {
            return;
        }

        try
        {
            vm.Host.Do(vm.Host.Service("Msvm_VirtualSystemReferencePointService"), "DestroyReferencePoint", null, new MethodArgument("AffectedReferencePoint", EndpointReference.To(HyperVHost.Space, Type, ("InstanceID", made.Text("InstanceID")))));
        }
        catch (LostAnswerException e)
        {
            Log.Information("no answer came to the removal of a reference point: {Reason}", e.Message);
        }

        if (Made(vm.Host, lease) is not null)
        {
            throw new ConnectorException($"{lease.VmName}: the reference point {made.Text("InstanceID")} is still there");
        }
    }

    private static IReadOnlyList<XElement> Of(HyperVHost host, string vm) => host.Where(Type, "VirtualSystemIdentifier", vm);

    /// <summary>The reference point of a lease: by its id, or where that was not told any more the one that came since.</summary>
    private static XElement? Made(HyperVHost host, LeaseRecord lease)
    {
        IReadOnlyList<XElement> all = Of(host, lease.VmId);
        if (lease.Details.TryGetValue(IdKey, out string? id))
        {
            return all.FirstOrDefault(r => r.Text("InstanceID") == id);
        }

        if (lease.Details.TryGetValue(JobKey, out string? job) && host.MadeBy(job, Type) is [XElement made])
        {
            return made;
        }

        string[] before = lease.Details[BeforeKey].Split('\n');
        List<XElement> since = [.. all.Where(r => !before.Contains(r.Text("InstanceID")) && r.Elements("ResilientChangeTrackingIdentifiers").Any(i => i.Value.Length > 0))];
        if (since.Count > 1)
        {
            Log.Warning("{Vm} has {Count} new reference points, and it cannot be told which is of this scan; they stay", lease.VmName, since.Count);
        }

        return since.Count == 1 ? since[0] : null;
    }

    private static List<ChangedRange> Changed(HyperVHost host, string disk, string id, long bytes)
    {
        List<ChangedRange> changed = [];
        EndpointReference service = host.Service("Msvm_ImageManagementService");
        int answers = 0;
        for (long at = 0; at < bytes;)
        {
            if (++answers > MostAnswers || changed.Count > MostAreas)
            {
                throw new ConnectorException($"GetVirtualDiskChanges does not come to an end: {answers} answers up to {at}");
            }

            // A whole disk at once is refused: the length asked for must be less than the disk's.
            long piece = Math.Min(bytes - at, Math.Min(MostPiece, (bytes + 1) / 2));
            XElement answer = host.Client.Ask(
                service,
                "GetVirtualDiskChanges",
                new MethodArgument("Path", disk),
                new MethodArgument("LimitId", id),
                new MethodArgument("TargetSnapshotId", ""),
                new MethodArgument("ByteOffset", at.ToString(CultureInfo.InvariantCulture)),
                new MethodArgument("ByteLength", piece.ToString(CultureInfo.InvariantCulture)));
            string returned = answer.Text("ReturnValue").Trim();
            if (returned != "0")
            {
                throw HyperVHost.Failed("GetVirtualDiskChanges", returned);
            }

            long processed = Number(answer.Element("ProcessedByteLength"));
            long[] offsets = [.. answer.Elements("ChangedByteOffsets").Select(Number)], lengths = [.. answer.Elements("ChangedByteLengths").Select(Number)];
            if (processed <= 0 || processed > piece || offsets.Length != lengths.Length)
            {
                throw new ConnectorException($"GetVirtualDiskChanges at {at} answers for {processed} bytes, with {offsets.Length} places and {lengths.Length} lengths");
            }

            for (int i = 0; i < offsets.Length; i++)
            {
                if (offsets[i] < 0 || lengths[i] <= 0 || offsets[i] > bytes || lengths[i] > bytes - offsets[i] || (changed.Count > 0 && offsets[i] < changed[^1].Offset))
                {
                    throw new ConnectorException($"GetVirtualDiskChanges tells of {lengths[i]} bytes at {offsets[i]} of a disk of {bytes}");
                }

                changed.Add(new ChangedRange(offsets[i], lengths[i]));
            }

            // What an answer covers may be less than what was asked for.
            at += processed;
        }

        return changed;
    }

    private static long Number(XElement? element) => long.TryParse(element?.Value.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : -1;

    private XElement? Earlier()
    {
        LeaseRecord? earlier = _journal.List().Select(l => l.Record).FirstOrDefault(r => Checkpoints.Prefix + r.Key == _since && r.Kind == HyperVConnector.ReferenceKind && r.VmId == _lease.Record.VmId);
        return earlier is null || !earlier.Details.ContainsKey(IdKey) ? null : Made(_host!, earlier);
    }
}
