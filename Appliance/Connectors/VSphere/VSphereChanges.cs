using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// What changed on a VM's disks since an earlier view, by vSphere's changed block tracking: each disk of a snapshot has a change id, and the host lists the areas
/// that were written to between two of them. Nothing of it is ours on the server: the ids are kept with what was scanned. Tracking is never switched on here,
/// which is the owner's to do. Spec: vSphere API, VirtualMachine.QueryChangedDiskAreas; VDDK guide, "Changed Block Tracking".
/// </summary>
internal sealed class VSphereChanges : IViewChanges
{
    private const string NotTracked = "the host keeps no record of its changes (changed block tracking is off)";

    private readonly VSphereConnector _connector;
    private readonly MoRef _vm;
    private readonly MoRef? _snapshot;
    private readonly IReadOnlyList<DiskFacts> _disks;
    private readonly JsonObject? _since;

    private VSphereChanges(VSphereConnector connector, MoRef vm, MoRef? snapshot, IReadOnlyList<DiskFacts> disks, string? since)
    {
        (_connector, _vm, _snapshot, _disks) = (connector, vm, snapshot, disks);
        _since = Parse(since);
    }

    public string? Mark { get; private init; }

    public string Unmarked { get; private init; } = "";

    /// <param name="vm">As it is once the view is open.</param>
    /// <param name="snapshot">Of the view; null where the VM stands still without one.</param>
    /// <param name="disks">Of that moment.</param>
    /// <param name="since">The mark of an earlier view; null when there is none.</param>
    /// <param name="view">Names the view.</param>
    public static VSphereChanges Of(VSphereConnector connector, VmFacts vm, MoRef? snapshot, IReadOnlyList<DiskFacts> disks, string? since, string view)
    {
        string unmarked = !vm.IsTracked ? NotTracked
            : disks.All(d => ChangeId.Parse(d.ChangeId) is null) ? "the host gives no change id of its disks"

            // Going back to a moment before this one changes the disks in a way that nobody writes down; there is no way back without a snapshot.
            : vm.Snapshots.Any(s => s.Reference.Value != snapshot?.Value) ? "the VM has a snapshot that it may be reverted to, so that a later scan could not tell what changed"
            : "";
        var marked = new JsonObject();
        foreach (DiskFacts disk in disks.Where(d => ChangeId.Parse(d.ChangeId) is not null))
        {
            marked[KeyOf(disk)] = new JsonObject { ["id"] = disk.ChangeId, ["file"] = disk.File, ["bytes"] = disk.CapacityBytes };
        }

        return new VSphereChanges(connector, vm.Reference, snapshot, disks, since)
        {
            Mark = unmarked.Length == 0 ? new JsonObject { ["view"] = view, ["disks"] = marked }.ToJsonString() : null,
            Unmarked = unmarked,
        };
    }

    public IReadOnlyList<ChangedRange>? Of(VmDisk disk)
    {
        if (_disks.Where(d => d.File == disk.Path).ToArray() is not [{ } facts])
        {
            return null;
        }

        JsonNode? before = _since?["disks"]?[KeyOf(facts)];
        ChangeId? earlier = ChangeId.Parse((string?)before?["id"] ?? ""), now = ChangeId.Parse(facts.ChangeId);
        string? doubt = earlier is null ? "the host gave no change id of it at the last scan"
            : now is null ? NotTracked
            : now.Series != earlier.Series ? "the record of its changes was begun anew since the last scan"
            : now.Number < earlier.Number ? "the record of its changes went back to an earlier moment"
            : (string?)before!["file"] != facts.File ? "another file is in its place"
            : facts.CapacityBytes <= 0 || (long?)before["bytes"] != facts.CapacityBytes ? "its size is not what it was"
            : null;
        if (doubt is not null)
        {
            throw new ConnectorException(doubt);
        }

        return
        [
            .. _connector.Tasks.QueryChangedDiskAreas(_vm, _snapshot, facts.Key, facts.CapacityBytes, (string)before!["id"]!).Select(a => new ChangedRange(a.Start, a.Length)),

            // Of what lies behind the size that was answered for, nobody has said anything.
            new ChangedRange(facts.CapacityBytes, long.MaxValue - facts.CapacityBytes),
        ];
    }

    /// <summary>The server keeps its record whatever becomes of the view.</summary>
    public void Keep()
    {
    }

    public void Release()
    {
    }

    private static string KeyOf(DiskFacts disk) => disk.Key.ToString(CultureInfo.InvariantCulture);

    private static JsonObject? Parse(string? mark)
    {
        try
        {
            return mark is null ? null : JsonNode.Parse(mark) as JsonObject;
        }
        catch (JsonException)
        {
            // Of another connector.
            return null;
        }
    }

    /// <summary>A change id as hosts write it: <c>52 de 1b .../17</c>, which record it belongs to and a number that grows.</summary>
    private sealed record ChangeId(string Series, long Number)
    {
        public static ChangeId? Parse(string text) =>
            text.LastIndexOf('/') is > 0 and var slash && long.TryParse(text.AsSpan(slash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? new ChangeId(text[..slash], number) : null;
    }
}
