using System.Globalization;
using System.Text.Json.Nodes;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;

namespace Vmsweep.Appliance.Connectors.Qemu;

/// <summary>
/// What tells a later view of a bare QEMU what changed since this one: a dirty bitmap of ours on each disk, begun in the transaction that opens the view. It
/// records from then on, whatever becomes of later scans: what it holds is copied, in the transaction that opens a later view, into a bitmap beside that
/// view's temporary image, which stands still and is read over NBD. So no write falls between two bitmaps, and a scan that fails takes nothing from the next.
/// It has a lease of its own, for it is meant to outlast the view. Spec: qemu docs/interop/bitmaps.rst.
/// </summary>
internal sealed class ChangeBitmap : IViewChanges, IDisposable
{
    private const string NameKey = "bitmap";
    private const string ImagePrefix = "image.";
    private const string Prefix = "vmsweep-";

    /// <summary>Of the copy that stands still.</summary>
    private const string Copy = "vmsweep-since";

    private const int GranularityBytes = 64 << 10;

    /// <summary>QEMU's only flag: the range was written to. Spec: qemu docs/interop/nbd.txt.</summary>
    private const uint Dirty = 1;

    private readonly QemuConnector _connector;
    private readonly LeaseJournal _journal;
    private readonly Lease _lease;
    private readonly IReadOnlyList<InventoryDisk> _disks;
    private readonly string? _since;

    /// <summary>Why nothing is told of a disk; null where its copy tells.</summary>
    private readonly string?[] _doubts;

    private string _socket = "";
    private IReadOnlyList<string> _exports = [];
    private bool _isMade;
    private bool _isKept;

    private ChangeBitmap(QemuConnector connector, LeaseJournal journal, Lease lease, IReadOnlyList<InventoryDisk> disks, string? since)
    {
        (_connector, _journal, _lease, _disks, _since) = (connector, journal, lease, disks, since);
        _doubts = [.. disks.Select(_ => "there is no earlier view")];
    }

    public string? Mark => _isMade ? NameOf(_lease.Record) : null;

    /// <summary>Writes down what is about to be made.</summary>
    /// <param name="since">The mark of an earlier view; null when there is none.</param>
    public static ChangeBitmap Begin(QemuConnector connector, InventoryVm vm, LeaseJournal journal, string? since)
    {
        JsonArray nodes;
        using (QmpClient qemu = QmpClient.Open(connector.Socket))
        {
            nodes = Nodes(qemu);
        }

        Lease lease = journal.Begin(QemuConnector.BitmapKind, connector.Name, vm.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [NameKey] = Prefix + key };
            for (int i = 0; i < vm.Disks.Count; i++)
            {
                if (CanStore(Node(nodes, vm.Disks[i].Name)))
                {
                    details[ImagePrefix + i.ToString(CultureInfo.InvariantCulture)] = vm.Disks[i].Source;
                }
            }

            return details;
        });
        return new ChangeBitmap(connector, journal, lease, vm.Disks, since);
    }

    /// <summary>Begins the copies that make the view with it; with less where QEMU refuses, for a scan that reads all is better than none.</summary>
    /// <param name="scratch">The node of each disk's temporary image.</param>
    /// <param name="copies">Makes the actions that begin the view.</param>
    public void BeginBackup(QmpClient qemu, IReadOnlyList<string> scratch, Func<IEnumerable<JsonObject>> copies)
    {
        bool isAnyTold = false;
        JsonArray nodes = Nodes(qemu);
        for (int i = 0; i < _disks.Count && _since is not null; i++)
        {
            _doubts[i] = Doubt(Node(nodes, _disks[i].Name), _since);
            if (_doubts[i] is null)
            {
                isAnyTold = true;
                qemu.Run("block-dirty-bitmap-add", new JsonObject { ["node"] = scratch[i], ["name"] = Copy, ["granularity"] = GranularityBytes, ["disabled"] = true });
            }
        }

        // A write that comes between two of these is in both bitmaps, and that is harmless: it is read once more.
        IEnumerable<JsonObject> Actions(bool isStored, bool isTold) =>
        [
            .. _disks.Select((d, i) => Action("block-dirty-bitmap-add", new JsonObject { ["node"] = d.Name, ["name"] = NameOf(_lease.Record), ["granularity"] = GranularityBytes, ["persistent"] = isStored && _lease.Record.Details.ContainsKey(ImagePrefix + i.ToString(CultureInfo.InvariantCulture)) })),
            .. copies(),
            .. _disks.Select((d, i) => (Disk: d, Index: i)).Where(d => isTold && _doubts[d.Index] is null).Select(d => Action(
                "block-dirty-bitmap-merge",
                new JsonObject { ["node"] = scratch[d.Index], ["target"] = Copy, ["bitmaps"] = new JsonArray(new JsonObject { ["node"] = d.Disk.Name, ["name"] = _since }) })),
        ];
        _isMade = Try(qemu, Actions(true, true)) || Try(qemu, Actions(false, true));
        if (!_isMade)
        {
            // An empty copy would say that nothing changed.
            Array.Fill(_doubts, "QEMU does not tell what changed");
            _isMade = isAnyTold && Try(qemu, Actions(false, false));
        }

        if (!_isMade)
        {
            Run(qemu, copies());
        }
    }

    /// <summary>The bitmap that a disk is exported with; null for none.</summary>
    public string? CopyOf(int disk) => _doubts[disk] is null ? Copy : null;

    /// <summary>Where the view is served, and under which name each disk.</summary>
    public void Reach(string socket, IReadOnlyList<string> exports) => (_socket, _exports) = (socket, exports);

    public IReadOnlyList<ChangedRange>? Of(VmDisk disk)
    {
        int[] found = [.. Enumerable.Range(0, _disks.Count).Where(i => _disks[i].Source == disk.Path)];
        if (found is not [int index])
        {
            return null;
        }

        if (_doubts[index] is { } why)
        {
            throw new ConnectorException(why);
        }

        const string Context = "qemu:dirty-bitmap:" + Copy;
        using NbdSource source = NbdSource.Open(NbdTransport.Unix(_socket), _exports[index], new ScanBudget(8 << 20), context: Context);
        return [.. source.Ranges(Context, Dirty, TracingJob.MostRanges).Select(r => new ChangedRange(r.Offset, r.Length))];
    }

    public void Keep()
    {
        _lease.Update(r => r with { IsKept = true });
        _isKept = true;
    }

    /// <remarks>Whoever was asked for by another name before, it is the same QEMU.</remarks>
    public void Release() => EarlierMarks.Release(_journal, _lease.Record, r => r.VmId == _lease.Record.VmId, l => Undo(_connector, l.Record));

    public void Dispose()
    {
        using (_lease)
        {
            if (!_isKept)
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }
        }
    }

    /// <summary>Removes the bitmaps of a lease wherever they are, one that a crash broke too.</summary>
    public static void Undo(QemuConnector connector, LeaseRecord lease)
    {
        string name = NameOf(lease);
        HashSet<string> open = new(StringComparer.Ordinal);
        try
        {
            using QmpClient qemu = QmpClient.Open(connector.Socket);
            foreach (JsonNode? node in Nodes(qemu))
            {
                open.Add((string?)node?["file"] ?? "");
                if (Bitmap(node, name) is not null)
                {
                    qemu.Run("block-dirty-bitmap-remove", new JsonObject { ["node"] = (string?)node!["node-name"], ["name"] = name });
                }
            }
        }
        catch (QemuGoneException)
        {
            // What images keep is left.
        }

        foreach (string image in Images(lease).Where(i => !open.Contains(i) && HostFile.KindOf(i) == HostFileKind.Regular))
        {
            StoredBitmap.Remove(image, name);
        }
    }

    /// <summary>True when nothing can be left of it: neither the process that had it in memory nor an image that may keep it.</summary>
    public static bool IsVoid(QemuConnector connector, LeaseRecord lease)
    {
        if (Images(lease).Any(Path.Exists))
        {
            return false;
        }

        try
        {
            using QmpClient qemu = QmpClient.Open(connector.Socket);
            return false;
        }
        catch (QemuGoneException)
        {
            return true;
        }
    }

    private static string NameOf(LeaseRecord lease) =>
        lease.Details[NameKey] is var name && name == Prefix + lease.Key ? name : throw new InvalidDataException($"the bitmap {name} is not this lease's");

    private static IEnumerable<string> Images(LeaseRecord lease) => lease.Details.Where(d => d.Key.StartsWith(ImagePrefix, StringComparison.Ordinal)).Select(d => d.Value);

    /// <summary>Why an earlier bitmap does not tell what was written since; null where it does.</summary>
    private static string? Doubt(JsonNode? node, string since) =>
        !since.StartsWith(Prefix, StringComparison.Ordinal) ? "the earlier view left no bitmap of ours"
        : Bitmap(node, since) is not { } bitmap ? "its bitmap of changes is gone: QEMU was started anew, the disk is another one, or somebody removed it"
        : (bool?)bitmap["inconsistent"] == true ? "its bitmap of changes is broken: QEMU was ended before it could store it"
        : (bool?)bitmap["recording"] != true ? "its bitmap of changes was switched off by somebody"
        : (bool?)bitmap["busy"] != false ? "its bitmap of changes is in use by another job"
        : (long?)bitmap["granularity"] != GranularityBytes ? $"its bitmap of changes has a granularity of {bitmap["granularity"]} bytes and is not ours"
        : null;

    /// <summary>Only a qcow2 image of version 3 keeps bitmaps. One whose path is not whole, or whose data lies in another file, is not touched while its VM is off.</summary>
    private static bool CanStore(JsonNode? node) =>
        (string?)node?["drv"] == "qcow2" && (bool?)node["ro"] != true && Path.IsPathRooted((string?)node["file"] ?? "")
        && node["image"]?["format-specific"]?["data"] is { } format && (string?)format["compat"] is { } compat && compat != "0.10" && format["data-file"] is null;

    private static JsonArray Nodes(QmpClient qemu) => qemu.Run("query-named-block-nodes", new JsonObject { ["flat"] = true })?.AsArray() ?? [];

    private static JsonNode? Node(JsonArray nodes, string name) => nodes.FirstOrDefault(n => (string?)n?["node-name"] == name);

    private static JsonNode? Bitmap(JsonNode? node, string name) => node?["dirty-bitmaps"]?.AsArray().FirstOrDefault(b => (string?)b?["name"] == name);

    private static JsonObject Action(string type, JsonObject data) => new() { ["type"] = type, ["data"] = data };

    private static void Run(QmpClient qemu, IEnumerable<JsonObject> actions) => qemu.Run("transaction", new JsonObject { ["actions"] = new JsonArray([.. actions]) });

    /// <summary>All of a transaction is done, or nothing.</summary>
    private bool Try(QmpClient qemu, IEnumerable<JsonObject> actions)
    {
        try
        {
            Run(qemu, actions);
            return true;
        }
        catch (QmpException e)
        {
            Log.Warning("{Vm}: {Reason}; less is told of its changes", _lease.Record.VmName, e.Message);
            return false;
        }
    }
}
