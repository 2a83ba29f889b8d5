using Serilog;
using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>What earlier views left on a hypervisor so that changes since them can be told. When a later view has its own, nothing is compared to them any more.</summary>
internal static class EarlierMarks
{
    /// <param name="own">The lease of the mark that stays.</param>
    /// <param name="isOfVm">Whether a lease of the same kind is one of this VM.</param>
    /// <param name="undo">Takes back what a lease records.</param>
    public static void Release(LeaseJournal journal, LeaseRecord own, Func<LeaseRecord, bool> isOfVm, Action<Lease> undo)
    {
        foreach ((LeaseRecord record, bool isHeld) in journal.List())
        {
            if (isHeld || record.Id == own.Id || record.Kind != own.Kind || !isOfVm(record) || !journal.TryTake(record.Id, out Lease? earlier))
            {
                continue;
            }

            using (earlier)
            {
                try
                {
                    undo(earlier);
                    earlier.Complete();
                }
                catch (Exception e) when (e is IOException or InvalidDataException)
                {
                    // The next scan tries again.
                    Log.Warning("what an earlier scan of {Vm} left to tell changes by stays for now, as lease {Lease}: {Reason}", record.VmName, record.Id, e.Message);
                }
            }
        }
    }
}
