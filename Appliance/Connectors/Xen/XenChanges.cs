using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// What tells a later view what changed since this one: changed block tracking of the pool, whose records stay with the disks of a snapshot after their data is
/// destroyed. It has a lease of its own, for it is meant to outlast the view. Spec: XenServer changed block tracking guide.
/// </summary>
internal sealed class XenChanges : IViewChanges, IDisposable
{
    private const string NameKey = "changes";
    private const string EnabledPrefix = "enabled.";
    private const string RecordPrefix = "record.";

    private static readonly TimeSpan MostSwitch = TimeSpan.FromMinutes(5);

    private readonly XenConnector _connector;
    private readonly LeaseJournal _journal;
    private readonly Lease _lease;
    private readonly string? _since;
    private readonly Dictionary<string, IReadOnlyList<ChangedRange>?> _ranges = new(StringComparer.Ordinal);
    private Lease? _view;
    private bool _isMade;
    private bool _isKept;
    private bool _isReleasing;

    private XenChanges(XenConnector connector, LeaseJournal journal, Lease lease, string? since) => (_connector, _journal, _lease, _since) = (connector, journal, lease, since);

    public string? Mark => _isMade ? _lease.Record.Details[NameKey] : null;

    /// <summary>Switches tracking on where it is off, written down before, so that the snapshot that follows begins a record.</summary>
    /// <param name="since">The mark of an earlier one; null when there is none.</param>
    public static XenChanges Begin(XenConnector connector, InventoryVm vm, IReadOnlyList<XenDisk> disks, LeaseJournal journal, string? since)
    {
        Lease lease = journal.Begin(XenConnector.ChangesKind, connector.Name, vm.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [NameKey] = XenView.Prefix + key };
            foreach (XenDisk disk in disks.Where(d => !d.IsTracked))
            {
                details[EnabledPrefix + disk.Uuid] = disk.Uuid;
            }

            return details;
        });
        foreach (XenDisk disk in disks.Where(d => !d.IsTracked))
        {
            try
            {
                connector.Tasks.Run("VDI.enable_cbt", MostSwitch, disk.Reference);
            }
            catch (IOException e)
            {
                // Not every storage tracks changes, and not every licence allows it: a scan that reads all is better than none.
                Log.Warning("{Disk}: its changes are not tracked: {Reason}", disk.Path, e.Message);
            }
        }

        return new XenChanges(connector, journal, lease, since);
    }

    /// <summary>Looks at what the snapshot has, and asks what changed while none of its disks is attached: then the pool refuses to tell.</summary>
    public void Take(IReadOnlyList<XenDisk> disks, IReadOnlyList<XenDisk> made)
    {
        List<(XenDisk Disk, XenDisk Made)> tracked = [];
        foreach (XenDisk disk in disks)
        {
            if (made.FirstOrDefault(m => m.SnapshotOf == disk.Reference) is { IsTracked: true } snapshot)
            {
                tracked.Add((disk, snapshot));
            }
        }

        _lease.Update(r =>
        {
            var details = r.Details.ToDictionary();
            tracked.ForEach(t => details[RecordPrefix + t.Disk.Uuid] = t.Made.Uuid);
            return r with { Details = details };
        });
        _isMade = tracked.Count > 0;
        IReadOnlyDictionary<string, string> earlier = _since is null ? new Dictionary<string, string>() : Earlier().FirstOrDefault(r => r.Details[NameKey] == _since)?.Details ?? new Dictionary<string, string>();
        foreach ((XenDisk disk, XenDisk snapshot) in tracked)
        {
            if (earlier.TryGetValue(RecordPrefix + disk.Uuid, out string? from))
            {
                _ranges[disk.Path] = Between(from, snapshot);
            }
        }
    }

    /// <summary>The lease of the view, whose end takes the data of the records away.</summary>
    public void Bind(Lease view) => _view = view;

    public IReadOnlyList<ChangedRange>? Of(VmDisk disk) => _ranges.GetValueOrDefault(disk.Path);

    /// <summary>First the view lets the records be, then they are kept: ended between the two, both are undone.</summary>
    public void Keep()
    {
        XenView.Spare(_view!, Records(_lease.Record));
        string[] enabled = [.. Earlier().SelectMany(r => r.Details).Where(d => d.Key.StartsWith(EnabledPrefix, StringComparison.Ordinal)).Select(d => d.Value)];
        _lease.Update(r =>
        {
            // Tracking that an earlier one of ours switched on goes on for this one.
            var details = r.Details.ToDictionary();
            Array.ForEach(enabled, e => details[EnabledPrefix + e] = e);
            return r with { IsKept = true, Details = details };
        });
        _isKept = true;
    }

    /// <summary>Nothing is kept, whatever was said before.</summary>
    public void Forgo()
    {
        _isMade = false;
        _isKept = false;
        _isReleasing = false;
        _lease.Update(r => r with { IsKept = false });
    }

    public void Release() => _isReleasing = true;

    /// <summary>After the view has ended.</summary>
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
                ReleaseEarlier();
            }
        }
    }

    /// <summary>Removes the records of a lease, and switches tracking off where it was switched on for them.</summary>
    public static void Undo(XenConnector connector, LeaseRecord lease)
    {
        if (lease.Details[NameKey] != XenView.Prefix + lease.Key)
        {
            throw new InvalidDataException($"{lease.Details[NameKey]} is not this lease's");
        }

        foreach (string uuid in Records(lease))
        {
            // What still belongs to a snapshot of the VM goes or stays with that.
            if (connector.Session.Find("VDI", uuid) is { } vdi && connector.Session.Record("VDI", vdi) is var record && (record.Text("type") == "cbt_metadata" || record.Texts("VBDs").Count == 0))
            {
                connector.Tasks.Destroy("VDI", vdi);
            }
        }

        foreach ((_, string uuid) in lease.Details.Where(d => d.Key.StartsWith(EnabledPrefix, StringComparison.Ordinal)))
        {
            if (connector.Session.Find("VDI", uuid) is { } vdi && connector.Session.Record("VDI", vdi).Flag("cbt_enabled"))
            {
                connector.Tasks.Run("VDI.disable_cbt", MostSwitch, vdi);
            }
        }
    }

    private IReadOnlyList<ChangedRange>? Between(string from, XenDisk to)
    {
        try
        {
            return _connector.Session.Find("VDI", from) is { } earlier
                ? ChangedBlocks.Parse(XapiRecord.TextOf(_connector.Session.Ask("VDI.list_changed_blocks", earlier, to.Reference)), to.SizeBytes)
                : null;
        }
        catch (IOException e)
        {
            Log.Warning("{Disk}: what changed of it cannot be told: {Reason}", to.Path, e.Message);
            return null;
        }
    }

    private IEnumerable<LeaseRecord> Earlier() => _journal.List().Select(l => l.Record).Where(r => r.Id != _lease.Record.Id && r.Kind == XenConnector.ChangesKind && IsOfVm(r));

    private bool IsOfVm(LeaseRecord record) => record.Connector == _connector.Name && record.VmId == _lease.Record.VmId;

    private void ReleaseEarlier() => EarlierMarks.Release(_journal, _lease.Record, IsOfVm, earlier =>
    {
        // Tracking goes on: it is this lease's now.
        earlier.Update(r => r with { Details = r.Details.Where(d => !d.Key.StartsWith(EnabledPrefix, StringComparison.Ordinal)).ToDictionary() });
        Undo(_connector, earlier.Record);
    });

    private static IReadOnlyList<string> Records(LeaseRecord lease) => [.. lease.Details.Where(d => d.Key.StartsWith(RecordPrefix, StringComparison.Ordinal)).Select(d => d.Value)];
}
