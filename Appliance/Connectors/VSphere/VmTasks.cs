using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>What is done to VMs: each a task of the server's, which goes on whatever becomes of who asked for it.</summary>
internal sealed class VmTasks(VimSession session)
{
    /// <summary>A host may quiesce for minutes.</summary>
    public static readonly TimeSpan MostCreate = TimeSpan.FromMinutes(20);

    /// <summary>Merging what a guest wrote while it was scanned.</summary>
    public static readonly TimeSpan MostRemove = TimeSpan.FromMinutes(60);

    /// <summary>Areas of one disk, and answers for it: a host whose answers cover next to nothing would be asked for ever.</summary>
    private const int MostAreas = 4_000_000;
    private const int MostAnswers = 10_000;

    private static readonly string[] OfSnapshots = ["CreateSnapshot_Task", "RemoveSnapshot_Task", "CreateSnapshotEx_Task"];

    private readonly PropertyReader _properties = new(session);

    /// <summary>A snapshot without memory.</summary>
    /// <exception cref="VimFaultException">The host refuses.</exception>
    public MoRef CreateSnapshot(MoRef vm, string name, string description, bool quiesce)
    {
        XElement? result;
        try
        {
            result = Wait(
                "CreateSnapshot",
                session.Do("CreateSnapshot_Task", vm, new XElement("name", name), new XElement("description", description), new XElement("memory", "false"), new XElement("quiesce", quiesce ? "true" : "false")),
                MostCreate);
        }
        catch (LostAnswerException)
        {
            // The host may make it all the same: then it has our name.
            Settle(vm, MostCreate);
            return Find(vm, name)?.Reference ?? throw new ConnectorException($"no answer came to the wish for a snapshot, and there is none called {name}");
        }

        return result is not null && result.Value.Length > 0 ? MoRef.Of(result)
            : Find(vm, name)?.Reference ?? throw new ConnectorException($"the host says that the snapshot {name} was made, and there is none");
    }

    /// <summary>Removes a snapshot and merges what was written over it.</summary>
    public void RemoveSnapshot(MoRef snapshot)
    {
        try
        {
            Wait("RemoveSnapshot", session.Do("RemoveSnapshot_Task", snapshot, new XElement("removeChildren", "false"), new XElement("consolidate", "true")), MostRemove);
        }
        catch (LostAnswerException e)
        {
            // Whether it is gone is looked at by who asked.
            Serilog.Log.Information("no answer came to the removal of a snapshot: {Reason}", e.Message);
        }
    }

    public void Consolidate(MoRef vm) => Wait("ConsolidateVMDisks", session.Do("ConsolidateVMDisks_Task", vm), MostRemove);

    public void Suspend(MoRef vm) => Wait("SuspendVM", session.Do("SuspendVM_Task", vm), MostCreate);

    public void Reconfigure(MoRef vm, XElement spec) => Wait("ReconfigVM", session.Do("ReconfigVM_Task", vm, spec), MostCreate);

    /// <summary>A snapshot of that name; null where there is none.</summary>
    public SnapshotFacts? Find(MoRef vm, string name) => VmFacts.Read(_properties, vm).Snapshots.FirstOrDefault(s => s.Name == name);

    /// <summary>Waits until the host has carried out what was asked of a VM's snapshots, by whomever.</summary>
    public void Settle(MoRef vm, TimeSpan most) => Settle(vm, most, OfSnapshots);

    /// <summary>The same for other tasks.</summary>
    /// <param name="methods">By which they are begun.</param>
    public void Settle(MoRef vm, TimeSpan most, params string[] methods)
    {
        long started = Environment.TickCount64;
        foreach (MoRef task in VmFacts.Read(_properties, vm).RecentTasks)
        {
            while (Environment.TickCount64 - started < most.TotalMilliseconds)
            {
                try
                {
                    VimObject state = _properties.Get(task, "info.name", "info.descriptionId", "info.state");
                    string name = state.Text("info.name") + state.Text("info.descriptionId");
                    if (state.Text("info.state") is not ("queued" or "running") || !methods.Any(s => name.Contains(s[..^5], StringComparison.OrdinalIgnoreCase)))
                    {
                        break;
                    }
                }
                catch (VimFaultException)
                {
                    // Tasks are forgotten some time after they ended.
                    break;
                }

                Thread.Sleep(500);
            }
        }
    }

    /// <summary>Which areas of a disk are stored, or were written to since an earlier moment, as a snapshot has it: all of it, however many answers that takes.</summary>
    /// <param name="diskKey">The device's key.</param>
    /// <param name="changeId"><c>*</c> for what is allocated, or the id of an earlier moment.</param>
    /// <returns>Ranges in order.</returns>
    /// <exception cref="VimFaultException">The host keeps no account of this disk, or not back to that moment.</exception>
    /// <exception cref="ConnectorException">What it answers cannot be.</exception>
    public IReadOnlyList<(long Start, long Length)> QueryChangedDiskAreas(MoRef vm, MoRef? snapshot, int diskKey, long capacityBytes, string changeId)
    {
        List<(long, long)> areas = [];
        int answers = 0;
        for (long at = 0; at < capacityBytes;)
        {
            if (++answers > MostAnswers || areas.Count > MostAreas)
            {
                throw new ConnectorException($"QueryChangedDiskAreas does not come to an end: {answers} answers up to {at}");
            }

            XElement answer = session.Ask(
                "QueryChangedDiskAreas",
                vm,
                [
                    .. snapshot is { } of ? (XElement[])[of.Named("snapshot")] : [],
                    new XElement("deviceKey", diskKey.ToString(CultureInfo.InvariantCulture)),
                    new XElement("startOffset", at.ToString(CultureInfo.InvariantCulture)),
                    new XElement("changeId", changeId),
                ]);
            XElement reply = answer.Element("returnval") ?? throw new ConnectorException("QueryChangedDiskAreas without an answer");
            long start = Number(reply, "startOffset"), length = Number(reply, "length");
            if (start != at || length <= 0 || length > capacityBytes - at)
            {
                throw new ConnectorException($"QueryChangedDiskAreas at {at} answers for {length} bytes from {start}");
            }

            foreach (XElement area in reply.Elements("changedArea"))
            {
                long from = Number(area, "start"), count = Number(area, "length");
                if (from < at || count <= 0 || from > at + length || count > at + length - from || (areas.Count > 0 && from < areas[^1].Item1 + areas[^1].Item2))
                {
                    throw new ConnectorException($"QueryChangedDiskAreas tells of {count} bytes at {from}, outside of what it answers for");
                }

                areas.Add((from, count));
            }

            // What an answer covers may be less than the disk.
            at += length;
        }

        return areas;
    }

    private static long Number(XElement element, string name) =>
        long.TryParse(element.Text(name), NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : -1;

    /// <summary>Waits for a task's end and returns its result.</summary>
    private XElement? Wait(string what, XElement answer, TimeSpan most)
    {
        MoRef task = answer.Element("returnval") is { } made ? MoRef.Of(made) : throw new ConnectorException($"{what} without a task");
        long started = Environment.TickCount64;
        for (int pause = 50; ; pause = Math.Min(pause * 2, 2000))
        {
            VimObject state;
            try
            {
                state = _properties.Get(task, "info.state", "info.result", "info.error");
            }
            catch (VimFaultException e) when (e.IsGone)
            {
                // A server that was restarted meanwhile has forgotten it.
                throw new LostAnswerException($"{what}: the task is gone", e);
            }

            switch (state.Text("info.state"))
            {
                case "success":
                    return state["info.result"];
                case "error":
                    throw VimFaultException.OfError(what, state["info.error"] ?? new XElement("error"));
            }

            if (Environment.TickCount64 - started > most.TotalMilliseconds)
            {
                throw new ConnectorException($"{what} does not end within {most.TotalMinutes} min");
            }

            Thread.Sleep(pause);
        }
    }
}
