using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Sweeps.Planning;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>A run that is being worked on.</summary>
/// <param name="Row">As it was when it was taken up.</param>
/// <param name="Last">Each VM's last scan before it, by the VM's key.</param>
internal sealed record SweepRun(SweepRunRow Row, IReadOnlyDictionary<string, LastScan> Last, ProgressBoard Progress)
{
    public string Id => Row.Id;
}
