using System.Text.Json.Serialization;

namespace Vmsweep.Appliance.Leases;

/// <summary>Something that was, or was about to be, made on a hypervisor, with all that undoing it takes.</summary>
internal sealed record LeaseRecord
{
    /// <summary>Part of every name that is made for it.</summary>
    public required Guid Id { get; init; }

    /// <summary>What it is, which decides how it is undone: <c>libvirt-backup</c>, <c>libvirt-overlay</c>, <c>libvirt-checkpoint</c>, <c>qemu-export</c>, <c>qemu-bitmap</c>, <c>vsphere-view</c>, <c>xen-view</c>, <c>xen-changes</c>.</summary>
    public required string Kind { get; init; }

    /// <summary>The configured connector's name, or the address, from which it can be opened again.</summary>
    public required string Connector { get; init; }

    /// <summary>The hypervisor's own lasting key of the VM.</summary>
    public required string VmId { get; init; }

    public required string VmName { get; init; }

    public required DateTimeOffset Created { get; init; }

    /// <summary>Host and process that made it, for people: whether it still lives is told by its lock.</summary>
    public required string Owner { get; init; }

    /// <summary>Kept on purpose, as evidence: undone by name only.</summary>
    public bool IsKept { get; init; }

    /// <summary>Paths and names by what they are.</summary>
    public IReadOnlyDictionary<string, string> Details { get; init; } = new Dictionary<string, string>();

    /// <summary>The id as names have it.</summary>
    [JsonIgnore]
    public string Key => Id.ToString("N");
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true, WriteIndented = true)]
[JsonSerializable(typeof(LeaseRecord))]
[JsonSerializable(typeof(IReadOnlyList<LeaseRecord>))]
internal sealed partial class LeaseJson : JsonSerializerContext;
