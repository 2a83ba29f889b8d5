using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Sweeps.Planning;

/// <summary>A VM that a sweep may scan.</summary>
/// <param name="Key">Names it for good, over all that sweeps look at.</param>
internal sealed record SweepVm(string Key, string Name)
{
    /// <summary>As reports have it.</summary>
    public required string Id { get; init; }

    /// <summary>How an operator would name it to scan it alone.</summary>
    public required string Target { get; init; }

    /// <summary><c>off</c>, <c>suspended</c>, <c>running</c> or <c>unknown</c>, when it was listed.</summary>
    public string Power { get; init; } = "unknown";

    /// <summary>The machine that runs it; empty where that is not known.</summary>
    public string Host { get; init; } = "";

    /// <summary>Its folder on this machine, or <c>CONNECTOR/FOLDER</c>.</summary>
    public string Folder { get; init; } = "";

    /// <summary>Whose it is; empty for nobody's.</summary>
    public string Tenant { get; init; } = "";

    /// <summary>The tenant, where he shares no verdicts with others; empty for all others together.</summary>
    public string Scope { get; init; } = "";

    /// <summary>Files that its disks are made over, so far as they are known.</summary>
    public IReadOnlyList<string> Parents { get; init; } = [];

    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>The datastore of each of its disks; one for a VM without disks that are known.</summary>
    public required IReadOnlyList<string> Datastores { get; init; }

    /// <summary>The folder of this machine that must be there for it to be read; null for a hypervisor's VM.</summary>
    public string? Root { get; init; }

    /// <summary>The datastore or the hypervisor's machine that it is read through, for people: what is lost there is lost for all its VMs. Empty where that is not known.</summary>
    public string Place { get; init; } = "";

    /// <summary>Whether its hypervisor does not answer now.</summary>
    public Func<bool> IsAway { get; init; } = () => false;

    /// <summary>How it is at the moment that this is called, with what must be disposed after it was scanned.</summary>
    public required Func<CancellationToken, OpenedVm> Open { get; init; }

    /// <summary>The datastore that a file lies on.</summary>
    public string DatastoreOf(string path) => Root ?? SweepInventory.DatastoreOf(path);
}

/// <param name="Owner">Disposed after the VM was scanned; null for nothing.</param>
internal sealed record OpenedVm(Vm Vm, IDisposable? Owner = null);
