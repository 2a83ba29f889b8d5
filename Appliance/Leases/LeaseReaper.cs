using Serilog;

namespace Vmsweep.Appliance.Leases;

/// <summary>Undoes what a lease records. Asked again after any failure, so that every step must bear being done twice.</summary>
internal interface ILeaseHolder
{
    /// <exception cref="IOException">Something of it is left, or may be.</exception>
    void Undo(LeaseRecord record);

    /// <summary>Why even what is kept on purpose must be ended, such as a datastore that fills up under it; null while it may stay.</summary>
    /// <exception cref="IOException">That cannot be told.</exception>
    string? MustEnd(LeaseRecord record) => null;
}

/// <summary>Ends leases whose owner is gone: at start-up, and every few minutes in a service.</summary>
/// <param name="open">The connector that a lease's <see cref="LeaseRecord.Connector"/> names, disposed after use where it can be.</param>
internal sealed class LeaseReaper(LeaseJournal journal, Func<LeaseRecord, ILeaseHolder> open, TimeProvider time)
{
    /// <summary>A hypervisor may still be about to do what a scan asked for right before it was killed.</summary>
    private static readonly TimeSpan Youngest = TimeSpan.FromSeconds(5);

    /// <summary>Reaps all, or one by its id, which also ends one that was kept.</summary>
    /// <remarks>One that is kept is ended without being named only when it must be.</remarks>
    /// <returns>Each lease that was tried, and why it could not be ended, null when it was.</returns>
    public IReadOnlyList<(LeaseRecord Record, string? Failure)> Run(Guid? only = null)
    {
        List<(LeaseRecord, string?)> tried = [];
        foreach ((LeaseRecord record, bool isHeld) in journal.List())
        {
            if (isHeld || (only is { } id ? record.Id != id : record.IsKept && !MustEnd(record)) || !journal.TryTake(record.Id, out Lease? lease))
            {
                continue;
            }

            using (lease)
            {
                try
                {
                    Settle(record);
                    ILeaseHolder holder = open(lease.Record);
                    using (holder as IDisposable)
                    {
                        holder.Undo(lease.Record);
                    }

                    lease.Complete();
                    Log.Information("the lease {Lease} of {Vm} was reaped", record.Key, record.VmName);
                    tried.Add((record, null));
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
                {
                    Log.Warning("the lease {Lease} of {Vm} could not be reaped: {Reason}", record.Key, record.VmName, e.Message);
                    tried.Add((record, e.Message));
                }
            }
        }

        return tried;
    }

    private bool MustEnd(LeaseRecord record)
    {
        try
        {
            ILeaseHolder holder = open(record);
            using (holder as IDisposable)
            {
                if (holder.MustEnd(record) is not { } why)
                {
                    return false;
                }

                Log.Warning("the lease {Lease} of {Vm} was kept on purpose and is ended: {Reason}", record.Id, record.VmName, why);
                return true;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            // What cannot be looked at stays.
            return false;
        }
    }

    private void Settle(LeaseRecord record)
    {
        TimeSpan wait = record.Created + Youngest - time.GetUtcNow();
        if (wait > TimeSpan.Zero && wait <= Youngest && !record.IsKept)
        {
            Thread.Sleep(wait);
        }
    }
}
