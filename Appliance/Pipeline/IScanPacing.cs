using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>How fast one VM's scan may read.</summary>
internal interface IScanPacing
{
    /// <summary>For its worker; what that must be given is added to the binds.</summary>
    PacingJob JobOf(IReadOnlyList<VmDisk> disks, Sandbox sandbox, List<(string Host, string Inside)> binds);

    void OnPace(PaceEvent pace);
}
