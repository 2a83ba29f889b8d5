using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>What is done to VMs and disks: each a task of the pool's, which goes on whatever becomes of who asked for it.</summary>
internal sealed class XenTasks(XapiSession session)
{
    /// <summary>Storage that is slow to snapshot many disks.</summary>
    public static readonly TimeSpan MostCreate = TimeSpan.FromMinutes(20);

    private static readonly TimeSpan MostRemove = TimeSpan.FromMinutes(60);

    /// <summary>For a disk to be let go after its last reader went away.</summary>
    private static readonly TimeSpan MostBusy = TimeSpan.FromMinutes(3);

    private static readonly string[] OfSnapshots = ["snapshot", "snapshot_with_quiesce", "checkpoint"];

    /// <summary>A snapshot of all disks but some, without memory.</summary>
    /// <returns>Reference of the snapshot, which the pool keeps as a VM.</returns>
    /// <exception cref="XapiException">The pool refuses.</exception>
    public string Snapshot(string vm, string name, IReadOnlyList<string> ignored) => Make("VM.snapshot", vm, name, ignored);

    /// <summary>The same after the guest has written out what it holds; leaves no disk out.</summary>
    /// <exception cref="XapiException">The guest or the pool cannot, or refuses.</exception>
    public string SnapshotQuiesced(string vm, string name) => Make("VM.snapshot_with_quiesce", vm, name, []);

    private string Make(string method, string vm, string name, IReadOnlyList<string> ignored)
    {
        string? made = null;
        try
        {
            made = Run(method, MostCreate, ignored.Count > 0 ? [vm, name, ignored] : [vm, name]);
        }
        catch (XapiException e) when (ignored.Count > 0 && e.Code == "MESSAGE_PARAMETER_COUNT_MISMATCH")
        {
            throw new ConnectorException("this version of the pool's software makes no snapshot that leaves disks out, and the VM has some that none can hold", e);
        }
        catch (LostAnswerException)
        {
            // The pool may make it all the same: then it has our name.
            Settle(vm, MostCreate);
        }

        return made is { Length: > 0 } ? made
            : Named(name) is [var found, ..] ? found
            : throw new ConnectorException($"no answer came to the wish for a snapshot, and there is none called {name}");
    }

    /// <summary>Snapshots of a name.</summary>
    public IReadOnlyList<string> Named(string name)
    {
        System.Text.Json.JsonElement found = session.Ask("VM.get_by_name_label", name);
        return found.ValueKind == System.Text.Json.JsonValueKind.Array ? [.. found.EnumerateArray().Select(XapiRecord.TextOf).Where(v => Look("VM", v) is { } record && record.Flag("is_a_snapshot"))] : [];
    }

    /// <summary>An object as it is now; null where it is gone.</summary>
    public XapiRecord? Look(string kind, string reference)
    {
        try
        {
            return session.Record(kind, reference);
        }
        catch (XapiException e) when (e.IsGone)
        {
            return null;
        }
    }

    /// <summary>Removes something, as soon as nobody is at it any more, and looks whether it is gone.</summary>
    /// <exception cref="IOException">It is still there.</exception>
    public void Destroy(string kind, string reference)
    {
        Patiently(kind + ".destroy", reference, r => r is null);
        if (Look(kind, reference) is { } left)
        {
            throw new ConnectorException($"the {kind} {left.Text("uuid")} is still there after it was removed");
        }
    }

    /// <summary>Removes what a disk of a snapshot holds, and keeps the record of what changed up to it.</summary>
    public void DestroyData(string vdi)
    {
        static bool IsRecord(XapiRecord? v) => v is null || v.Value.Text("type") == "cbt_metadata";
        Patiently("VDI.data_destroy", vdi, IsRecord);
        if (!IsRecord(Look("VDI", vdi)))
        {
            throw new ConnectorException("the data of a snapshot's disk is still there after it was removed");
        }
    }

    /// <summary>Waits until the pool has carried out what was asked of a VM's snapshots, by whomever.</summary>
    public void Settle(string vm, TimeSpan most)
    {
        for (long started = Environment.TickCount64; Environment.TickCount64 - started < most.TotalMilliseconds; Thread.Sleep(500))
        {
            if (Look("VM", vm) is not { } record || !record.Map("current_operations").Any(o => OfSnapshots.Contains(o.Value)))
            {
                return;
            }
        }
    }

    /// <summary>Runs something to its end.</summary>
    /// <returns>What it made; empty where it makes nothing.</returns>
    /// <exception cref="LostAnswerException">What became of it is not known.</exception>
    /// <exception cref="XapiException">It failed.</exception>
    public string Run(string method, TimeSpan most, params IReadOnlyList<object> arguments)
    {
        string task = XapiRecord.TextOf(session.Do("Async." + method, arguments));
        long started = Environment.TickCount64;
        try
        {
            for (int pause = 20; ; pause = Math.Min(pause * 2, 2000))
            {
                // One that a restarted pool has forgotten may have been carried out.
                XapiRecord state = Look("task", task) ?? throw new LostAnswerException($"{method}: the task is gone", new IOException(task));
                switch (state.Text("status"))
                {
                    case "success":
                        return ReferenceIn(state.Text("result"));
                    case "failure" or "cancelled":
                        IReadOnlyList<string> error = state.Texts("error_info");
                        throw new XapiException(method, error.Count > 0 ? error[0] : state.Text("status"), [.. error.Skip(1)]);
                }

                if (Environment.TickCount64 - started > most.TotalMilliseconds)
                {
                    throw new ConnectorException($"{method} does not end within {most.TotalMinutes} min");
                }

                Thread.Sleep(pause);
            }
        }
        finally
        {
            Forget(task);
        }
    }

    private void Patiently(string method, string reference, Func<XapiRecord?, bool> isDone)
    {
        string kind = method[..method.IndexOf('.', StringComparison.Ordinal)];
        long started = Environment.TickCount64;
        for (int pause = 50; ; pause = Math.Min(pause * 2, 2000))
        {
            try
            {
                Run(method, MostRemove, reference);
                return;
            }
            catch (XapiException e) when (e.IsGone && isDone(Look(kind, reference)))
            {
                return;
            }
            catch (XapiException e) when (e.IsBusy && Environment.TickCount64 - started < MostBusy.TotalMilliseconds)
            {
                // A removal that was asked for before may be what it is busy with.
            }
            catch (LostAnswerException) when (Environment.TickCount64 - started < MostBusy.TotalMilliseconds)
            {
                if (isDone(Look(kind, reference)))
                {
                    return;
                }
            }

            Thread.Sleep(pause);
        }
    }

    private void Forget(string task)
    {
        try
        {
            session.Do("task.destroy", task);
        }
        catch (IOException e)
        {
            // The pool forgets it a day after it ended.
            Serilog.Log.Debug("a task is left: {Reason}", e.Message);
        }
    }

    /// <summary>Results are XML whatever the call was made in: <c>&lt;value&gt;OpaqueRef:...&lt;/value&gt;</c>.</summary>
    private static string ReferenceIn(string result)
    {
        int from = result.IndexOf("OpaqueRef:", StringComparison.Ordinal);
        int to = from < 0 ? -1 : result.IndexOf('<', from);
        return from < 0 ? "" : to < 0 ? result[from..] : result[from..to];
    }
}
