using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Connectors;

/// <summary>A hypervisor, or a fleet of them. Everything it makes there is a lease.</summary>
internal interface IConnector : ILeaseHolder, IDisposable
{
    /// <summary>Its configured name, or its address: what a lease keeps of it.</summary>
    string Name { get; }

    /// <summary>What answers there, for <c>doctor</c>.</summary>
    /// <exception cref="ConnectorException">Nothing does.</exception>
    string Check();

    /// <summary>Everything that a scan needs, tried as far as nothing is changed by it: for <c>doctor --dry-run</c>.</summary>
    IReadOnlyList<ConnectorCheck> Rehearse() => [new ConnectorCheck("answers", true, Check(), "")];

    /// <exception cref="ConnectorException">It cannot be reached or refuses.</exception>
    IReadOnlyList<InventoryVm> List();

    /// <summary>A VM to be scanned: its disks are opened when its turn comes, and closed right after it.</summary>
    /// <param name="vm">As it was listed.</param>
    /// <param name="target">How the operator named it.</param>
    /// <param name="request">What the operator asked for beyond.</param>
    Vm Target(InventoryVm vm, string target, ViewRequest request);

    /// <summary>Does one thing to a VM.</summary>
    /// <exception cref="ConnectorException">It could not be done.</exception>
    ActReport Act(InventoryVm vm, VmAct act, string note);
}

/// <summary>One thing that was tried.</summary>
/// <param name="Found">What came of it, or why nothing did.</param>
/// <param name="Remedy">What mends it; empty where nothing has to be.</param>
internal sealed record ConnectorCheck(string Name, bool IsGood, string Found, string Remedy);

/// <summary>How a view is to be opened.</summary>
/// <param name="Journal">Where its lease is written down.</param>
/// <param name="Bases">Folders of declared bases.</param>
internal sealed record ViewRequest(LeaseJournal Journal, IReadOnlyList<string> Bases)
{
    /// <summary>With the memory of VMs that run, which stand still while it is written.</summary>
    public bool WithMemory { get; init; }
}

/// <summary>A VM at one point in time. Disposed, nothing of it is left on the hypervisor.</summary>
internal interface IVmView : IDisposable
{
    /// <summary>With the disks of that moment.</summary>
    Vm Vm { get; }

    /// <summary>Why it must be closed before it was read to the end, such as its age or a full datastore; null while it may stay.</summary>
    string? MustClose();

    /// <summary>After reading: what may have spoiled it meanwhile.</summary>
    IReadOnlyList<GapReport> Conclude();

    /// <summary>It stays open as evidence after it is disposed; the answer is the id of its lease. Null where there is nothing to keep.</summary>
    string? Keep();

    /// <summary>What changed since an earlier view; null where this one was not opened by <see cref="Datastore.Vm.OpenTracked"/>.</summary>
    IViewChanges? Changes => null;
}

/// <summary>What changed on a VM's disks since an earlier view of it, as far as its hypervisor can tell.</summary>
internal interface IViewChanges
{
    /// <summary>
    /// Names the moment of this view to a later one: opaque to all but its connector, never the same for two moments. Null where none can be named; then the
    /// next view has nothing to be compared to.
    /// </summary>
    string? Mark { get; }

    /// <summary>Why there is no mark.</summary>
    string Unmarked => "its hypervisor does not remember changes of it from now on";

    /// <summary>
    /// The ranges of a disk, in the bytes that the guest sees and in order, that may have changed since the earlier view. Null where that cannot be told
    /// without doubt, and all of it may have: no earlier view, a mark that is not known any more, a disk that keeps no such record.
    /// </summary>
    /// <exception cref="IOException">The same, and why.</exception>
    IReadOnlyList<ChangedRange>? Of(VmDisk disk);

    /// <summary>The view was read to its end: its mark is to outlast it. Unless this was called, disposing the view takes back whatever keeps the mark.</summary>
    void Keep();

    /// <summary>What was found in this view is stored for the next one: what keeps the marks of earlier views is let go.</summary>
    void Release();
}

/// <summary>Bytes of a disk.</summary>
internal readonly record struct ChangedRange(long Offset, long Length);

/// <summary>A VM in an inventory.</summary>
/// <param name="Id">What names it for good.</param>
/// <param name="Power"><c>off</c>, <c>suspended</c>, <c>running</c>, <c>paused</c> or <c>unknown</c>.</param>
/// <param name="Host">The machine that runs it.</param>
/// <param name="Folder">Where the inventory files it; empty where there are no folders.</param>
internal sealed record InventoryVm(string Id, string Name, string Power, string Host, string Folder, string GuestOs, IReadOnlyList<string> Tags, IReadOnlyList<InventoryDisk> Disks)
{
    /// <summary>What of a datastore it is: <c>vm</c>, <c>image</c>, <c>disc</c>, <c>memory</c>, <c>provisionedImage</c>, <c>writeCache</c>, <c>unread</c>; null from a hypervisor.</summary>
    public string? Kind { get; init; }

    /// <summary>Path of its configuration or image in a datastore, which <c>scan</c> takes; null from a hypervisor.</summary>
    public string? Path { get; init; }

    /// <summary>1 or 2 for a VM of Hyper-V; null elsewhere.</summary>
    public int? Generation { get; init; }

    /// <summary>Whether a hypervisor lists it too; null where none was asked.</summary>
    public bool? Registered { get; init; }

    /// <summary>As reports have it: a paused VM's disks are open like those of a running one.</summary>
    public VmReport ToReport() => new(Id, Name, Power == "paused" ? "running" : Power, GuestOs);
}

/// <param name="Name">The slot, such as <c>vda</c>.</param>
/// <param name="Type"><c>file</c>, <c>block</c>, <c>network</c>, <c>volume</c>.</param>
/// <param name="Source">Path or name of its top image.</param>
/// <param name="Chain">All layers that the hypervisor tells of, the top one first.</param>
internal sealed record InventoryDisk(string Name, string Type, string Source, string Format, bool IsReadOnly, IReadOnlyList<string> Chain);

/// <summary>What may be done to a VM on a detection. Each is off unless it is asked for by name.</summary>
internal enum VmAct
{
    /// <summary>A note in its metadata.</summary>
    Annotate,

    /// <summary>It stops where it is; nothing of it is lost.</summary>
    Suspend,

    /// <summary>Its network cables are pulled.</summary>
    Disconnect,

    /// <summary>The view that was scanned stays open.</summary>
    Keep,

    /// <summary>It gets a tag, by which whoever looks after it can select it.</summary>
    Tag,
}

/// <summary>The hypervisor cannot be reached or refuses; the message is for the operator.</summary>
internal sealed class ConnectorException : IOException
{
    public ConnectorException(string message)
        : base(message)
    {
    }

    public ConnectorException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>It may be reached later, where what is told by <see cref="HostLoss"/> does not say so by itself.</summary>
    public bool IsLost { get; init; }
}
