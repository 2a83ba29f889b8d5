using System.Globalization;
using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors.Qemu;

/// <summary>
/// The disks of a bare QEMU at one moment: "image fleecing". A temporary image over each disk takes what the guest overwrites (<c>blockdev-backup</c> with
/// <c>sync=none</c>, all disks in one transaction) and is exported. Spec: qemu docs/interop/live-block-operations.rst.
/// </summary>
internal sealed class QemuView : IVmView
{
    private const string ViewsKey = "views";
    private const string ScratchPrefix = "scratch.";

    /// <summary>A node's name has at most 31 characters.</summary>
    private const int KeyCharacters = 19;

    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(60);

    private readonly QemuConnector _connector;
    private readonly Lease _lease;
    private readonly ViewLimits _limits;
    private readonly ChangeBitmap? _bitmap;
    private bool _isKept;

    private QemuView(QemuConnector connector, Vm vm, Lease lease, ChangeBitmap? bitmap, ViewLimits limits)
    {
        _bitmap = bitmap;
        _connector = connector;
        Vm = vm;
        _lease = lease;
        _limits = limits;
    }

    public Vm Vm { get; }

    public IViewChanges? Changes => _bitmap;

    public string? MustClose() => _limits.Exceeded() ?? StoppedGuest.Look(_lease.Record, _connector.IsStoppedByError);

    public IReadOnlyList<GapReport> Conclude() => ExportedDisk.Conclude(Vm, () =>
    {
        // A job that fails is gone at once, while its export goes on.
        using QmpClient qemu = QmpClient.Open(_connector.Socket);
        return Enumerable.Range(0, Vm.Disks.Count).All(i => Has(qemu, "query-jobs", "id", NodeOf(_lease.Record, i)));
    });

    public string? Keep()
    {
        _isKept = true;
        _lease.Update(r => r with { IsKept = true });
        return _lease.Record.Id.ToString();
    }

    public void Dispose()
    {
        using (_bitmap)
        using (_lease)
        {
            if (!_isKept)
            {
                Undo(_connector, _lease.Record);
                _lease.Complete();
            }
        }
    }

    /// <param name="tracking">The view tells what changed since an earlier mark, which may be null; null: it tells nothing.</param>
    public static QemuView Open(QemuConnector connector, string target, ViewRequest request, TimeProvider time, Tracking? tracking = null)
    {
        InventoryVm vm = connector.List()[0];
        string Folder(InventoryDisk disk) => connector.Settings.Scratch ?? (Path.IsPathRooted(disk.Source) ? Path.GetDirectoryName(disk.Source)! : "/var/tmp");
        var limits = new ViewLimits(connector.Settings, [.. vm.Disks.Select(Folder).Distinct()], time);
        if (limits.Exceeded() is { } full)
        {
            throw new ConnectorException($"{vm.Name}: no view is opened: {full}");
        }

        string views = connector.Settings.Views;
        Lease lease = request.Journal.Begin(QemuConnector.ExportKind, connector.Name, vm.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string> { [ViewsKey] = views };
            StoppedGuest.Note(details, vm);
            for (int i = 0; i < vm.Disks.Count; i++)
            {
                details[ScratchPrefix + i.ToString(CultureInfo.InvariantCulture)] = Path.Combine(Folder(vm.Disks[i]), string.Create(CultureInfo.InvariantCulture, $"vmsweep-{key}-{i}.scratch"));
            }

            return details;
        });
        ChangeBitmap? bitmap = null;
        try
        {
            bitmap = tracking is null ? null : ChangeBitmap.Begin(connector, vm, request.Journal, tracking.Since);
            string socket = ViewFolder.SocketIn(views, lease.Record.Key);
            string[] nodes = [.. vm.Disks.Select((_, i) => NodeOf(lease.Record, i))];
            using (QmpClient qemu = QmpClient.Open(connector.Socket))
            {
                Begin(qemu, vm, lease.Record, socket, nodes, bitmap);
            }

            ViewFolder.TakeOver(socket);
            bitmap?.Reach(socket, nodes);
            VmDisk[] disks = [.. vm.Disks.Select((d, i) => ExportedDisk.Of(d.Source, socket, nodes[i]))];
            return new QemuView(connector, new Vm(target, vm.ToReport(), disks, []), lease, bitmap, limits);
        }
        catch
        {
            lease.Abandon(() => Undo(connector, lease.Record), bitmap);

            throw;
        }
    }

    /// <summary>Ends what a lease records, as far as it is there. A process that is gone has taken everything but files with it.</summary>
    public static void Undo(QemuConnector connector, LeaseRecord lease)
    {
        string socket = ViewFolder.SocketIn(lease.Details[ViewsKey], lease.Key);
        (int Index, string Path)[] scratch =
        [
            .. lease.Details.Where(d => d.Key.StartsWith(ScratchPrefix, StringComparison.Ordinal)).Select(d => (int.Parse(d.Key[ScratchPrefix.Length..], CultureInfo.InvariantCulture), d.Value)),
        ];
        try
        {
            using QmpClient qemu = QmpClient.Open(connector.Socket);
            foreach ((int index, _) in scratch)
            {
                string node = NodeOf(lease, index);
                if (Has(qemu, "query-block-exports", "id", node))
                {
                    qemu.Run("block-export-del", new JsonObject { ["id"] = node, ["mode"] = "hard" });
                    Wait(() => !Has(qemu, "query-block-exports", "id", node), $"the export {node} does not end");
                }
            }

            // The socket is only there when the server that we asked for was started: another's would have made the start fail.
            if (File.Exists(socket))
            {
                try
                {
                    qemu.Run("nbd-server-stop");
                }
                catch (QmpException)
                {
                    // It was stopped, and the socket left behind.
                }
            }

            foreach ((int index, _) in scratch)
            {
                string node = NodeOf(lease, index);
                foreach (string job in (string[])[node, FileOf(node)])
                {
                    if (Has(qemu, "query-jobs", "id", job))
                    {
                        Cancel(qemu, job);
                    }
                }

                foreach (string name in (string[])[node, FileOf(node)])
                {
                    if (Has(qemu, "query-named-block-nodes", "node-name", name))
                    {
                        qemu.Run("blockdev-del", new JsonObject { ["node-name"] = name });
                    }
                }
            }
        }
        catch (QemuGoneException)
        {
            // Files are left.
        }

        foreach ((_, string path) in scratch)
        {
            if (Path.GetFileName(path).Contains(lease.Key, StringComparison.Ordinal) && HostFile.KindOf(path) == HostFileKind.Regular)
            {
                File.Delete(path);
            }
        }

        ViewFolder.Remove(lease.Details[ViewsKey], lease.Key);

        // Last: its own disk may lie where the scratch files took the space.
        StoppedGuest.Resume(lease, connector.GoOnAfterError);
    }

    /// <summary>Where what a lease records takes space.</summary>
    public static IEnumerable<string> ScratchFolders(LeaseRecord lease) =>
        lease.Details.Where(d => d.Key.StartsWith(ScratchPrefix, StringComparison.Ordinal)).Select(d => Path.GetDirectoryName(d.Value)!).Distinct();

    private static string NodeOf(LeaseRecord lease, int index) => string.Create(CultureInfo.InvariantCulture, $"vmsweep-{lease.Key[..KeyCharacters]}{index:00}");

    private static string FileOf(string node) => node + "f";

    /// <param name="nodes">Of the temporary images.</param>
    private static void Begin(QmpClient qemu, InventoryVm vm, LeaseRecord lease, string socket, string[] nodes, ChangeBitmap? bitmap)
    {
        (uint, uint) account = qemu.Account;
        ViewFolder.Make(lease.Details[ViewsKey], lease.Key, account);
        for (int i = 0; i < vm.Disks.Count; i++)
        {
            string node = nodes[i];
            string file = FileOf(node);
            string scratch = lease.Details[ScratchPrefix + i.ToString(CultureInfo.InvariantCulture)];
            long size = SizeOf(qemu, vm.Disks[i].Name);
            Create(qemu, file, new JsonObject { ["driver"] = "file", ["filename"] = scratch, ["size"] = 0 });
            qemu.Run("blockdev-add", new JsonObject { ["driver"] = "file", ["node-name"] = file, ["filename"] = scratch });
            Create(qemu, node, new JsonObject { ["driver"] = "qcow2", ["file"] = file, ["size"] = size });
            qemu.Run("blockdev-add", new JsonObject { ["driver"] = "qcow2", ["node-name"] = node, ["file"] = file, ["backing"] = vm.Disks[i].Name });
        }

        IEnumerable<JsonObject> Copies() => vm.Disks.Select((d, i) => new JsonObject
        {
            ["type"] = "blockdev-backup",
            ["data"] = new JsonObject { ["job-id"] = nodes[i], ["device"] = d.Name, ["target"] = nodes[i], ["sync"] = "none" },
        });
        if (bitmap is null)
        {
            qemu.Run("transaction", new JsonObject { ["actions"] = new JsonArray([.. Copies()]) });
        }
        else
        {
            bitmap.BeginBackup(qemu, nodes, Copies);
        }

        qemu.Run("nbd-server-start", new JsonObject { ["addr"] = new JsonObject { ["type"] = "unix", ["data"] = new JsonObject { ["path"] = socket } } });
        for (int i = 0; i < vm.Disks.Count; i++)
        {
            var export = new JsonObject { ["type"] = "nbd", ["id"] = nodes[i], ["node-name"] = nodes[i], ["name"] = nodes[i] };
            if (bitmap?.CopyOf(i) is { } copy)
            {
                export["bitmaps"] = new JsonArray((JsonNode)copy);
            }

            qemu.Run("block-export-add", export);
        }
    }

    private static long SizeOf(QmpClient qemu, string node)
    {
        foreach (JsonNode? drive in qemu.Run("query-block")?.AsArray() ?? [])
        {
            if ((string?)drive?["inserted"]?["node-name"] == node && (long?)drive["inserted"]?["image"]?["virtual-size"] is { } size)
            {
                return size;
            }
        }

        throw new ConnectorException($"the disk {node} is gone");
    }

    private static void Create(QmpClient qemu, string job, JsonObject options)
    {
        qemu.Run("blockdev-create", new JsonObject { ["job-id"] = job, ["options"] = options });
        JsonNode? state = null;
        Wait(() => (string?)(state = Find(qemu, "query-jobs", "id", job))?["status"] is null or "concluded", $"{job} does not end");
        string? error = (string?)state?["error"];
        if (state is not null)
        {
            qemu.Run("job-dismiss", new JsonObject { ["id"] = job });
        }

        if (error is not null)
        {
            throw new ConnectorException($"no scratch file: {error}");
        }
    }

    private static void Cancel(QmpClient qemu, string job)
    {
        try
        {
            qemu.Run("job-cancel", new JsonObject { ["id"] = job });
        }
        catch (QmpException)
        {
            // It has ended, and waits to be dismissed.
        }

        Wait(
            () =>
            {
                JsonNode? state = Find(qemu, "query-jobs", "id", job);
                if ((string?)state?["status"] == "concluded")
                {
                    qemu.Run("job-dismiss", new JsonObject { ["id"] = job });
                }

                return state is null;
            },
            $"the job {job} does not end");
    }

    private static bool Has(QmpClient qemu, string list, string key, string value) => Find(qemu, list, key, value) is not null;

    private static JsonNode? Find(QmpClient qemu, string list, string key, string value) =>
        qemu.Run(list)?.AsArray().FirstOrDefault(n => (string?)n?[key] == value);

    private static void Wait(Func<bool> until, string otherwise)
    {
        long started = Environment.TickCount64;
        while (!until())
        {
            if (Environment.TickCount64 - started > MostWait.TotalMilliseconds)
            {
                throw new ConnectorException($"{otherwise} within {MostWait.TotalSeconds} s");
            }

            Thread.Sleep(20);
        }
    }
}
