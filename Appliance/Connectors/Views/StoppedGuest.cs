using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>
/// QEMU stops a guest at a write that fails, by default where no space is left: also where it is the scratch file that is full, which takes what the guest
/// overwrites. The write is tried again when the guest goes on. Spec: qemu "werror=enospc", run state "io-error".
/// </summary>
internal static class StoppedGuest
{
    /// <summary>A detail of the lease: the VM ran when its view was opened. One that its operator has paused is never let go on.</summary>
    private const string RanKey = "ran";

    private const string Why = "the VM stands still at a write that failed; the folder of its scratch files may be full";

    public static void Note(Dictionary<string, string> details, InventoryVm vm)
    {
        if (vm.Power == "running")
        {
            details[RanKey] = "yes";
        }
    }

    /// <summary>Why the view must be closed, that the guest can go on; null while it need not.</summary>
    /// <param name="isStopped">Asks the hypervisor whether an error stopped the guest.</param>
    public static string? Look(LeaseRecord lease, Func<bool> isStopped)
    {
        try
        {
            return lease.Details.ContainsKey(RanKey) && isStopped() ? Why : null;
        }
        catch (IOException)
        {
            // A hypervisor that is restarted or busy is asked again at the next look.
            return null;
        }
    }

    /// <summary>After the view was closed and its space given back.</summary>
    /// <param name="goOn">Lets the guest go on where an error stopped it.</param>
    public static void Resume(LeaseRecord lease, Action goOn)
    {
        if (lease.Details.ContainsKey(RanKey))
        {
            goOn();
        }
    }
}
