using System.Text.Json.Serialization;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Pacing;

/// <summary>What a VM's scan takes of what is limited.</summary>
/// <param name="Datastores">The datastore of each of its disks.</param>
internal sealed record DiskShare(IReadOnlyList<string> Datastores, string Host, string Tenant)
{
    /// <summary>Of a VM that is not read.</summary>
    public static readonly DiskShare Nothing = new([], "", "");

    public static DiskShare Of(SweepVm vm) => new(vm.Datastores, vm.Host, vm.Tenant);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(DiskShare))]
internal sealed partial class DiskShareJson : JsonSerializerContext;
