using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json;
using Serilog;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Leases;

/// <summary>
/// What this product has open on hypervisors, one file a lease in the state folder: written and synced before the act, removed after it was undone.
/// A second file beside it is locked for as long as its owner lives; the kernel takes the lock off whatever ends the owner. Many processes may share the
/// folder. Where several appliances share a database, new leases are there: another node ends what a dead one has left.
/// </summary>
/// <param name="shared">Null: what is open is this machine's alone to end.</param>
internal sealed class LeaseJournal(string folder, TimeProvider time, SharedLeases? shared = null) : IDisposable
{
    private const string RecordSuffix = ".json";
    private const string LockSuffix = ".held";

    public string Folder => folder;

    /// <summary>Writes down what is about to be made.</summary>
    /// <param name="describe">Makes the record's details from the lease's id.</param>
    /// <exception cref="IOException">The journal cannot be written: then nothing may be made.</exception>
    /// <exception cref="UnauthorizedAccessException">As before.</exception>
    public Lease Begin(string kind, string connector, string vmId, string vmName, Func<string, IReadOnlyDictionary<string, string>> describe)
    {
        var id = Guid.NewGuid();
        var record = new LeaseRecord
        {
            Id = id,
            Kind = kind,
            Connector = connector,
            VmId = vmId,
            VmName = vmName,
            Created = time.GetUtcNow(),
            Owner = string.Create(CultureInfo.InvariantCulture, $"{Environment.MachineName} {Environment.ProcessId}"),
            Details = describe(id.ToString("N")),
        };
        if (shared is not null)
        {
            return new Lease(this, record, shared.Begin(record), isShared: true);
        }

        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        FileStream held = new(PathOf(id, LockSuffix), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
        try
        {
            DurableFile.Write(PathOf(id, RecordSuffix), Json(record));
            return new Lease(this, record, held);
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <summary>All leases, oldest first, and whether their owner lives.</summary>
    public IReadOnlyList<(LeaseRecord Record, bool IsHeld)> List()
    {
        List<(LeaseRecord, bool)> found = [];
        foreach (string path in Directory.Exists(folder) ? Directory.EnumerateFiles(folder, "*" + RecordSuffix) : [])
        {
            if (Guid.TryParseExact(Path.GetFileNameWithoutExtension(path), "N", out Guid id) && Read(id) is { } record)
            {
                using FileStream? held = TryLock(id);
                found.Add((record, held is null));
            }
        }

        try
        {
            found.AddRange(shared?.List() ?? []);
        }
        catch (DatabaseException e)
        {
            // Those of the folder can be ended all the same.
            Log.Warning("leases of other nodes, and those of this one that are in the database, are not looked at: {Reason}", e.Message);
        }

        return [.. found.OrderBy(f => f.Item1.Created)];
    }

    /// <summary>Takes over a lease whose owner is gone.</summary>
    public bool TryTake(Guid id, [NotNullWhen(true)] out Lease? lease)
    {
        lease = null;
        if (shared is not null && !File.Exists(PathOf(id, RecordSuffix)))
        {
            lease = shared.TryTake(id) is { } taken ? new Lease(this, taken.Record, taken.Held, isShared: true) : null;
            return lease is not null;
        }

        FileStream? held = TryLock(id);
        if (held is null)
        {
            return false;
        }

        // Its owner may have ended it between the listing and the lock.
        if (Read(id) is not { } record)
        {
            held.Dispose();
            File.Delete(PathOf(id, LockSuffix));
            return false;
        }

        lease = new Lease(this, record, held);
        return true;
    }

    public void Dispose() => shared?.Dispose();

    internal void Write(LeaseRecord record, bool isShared)
    {
        if (isShared)
        {
            shared!.Write(record);
        }
        else
        {
            DurableFile.Write(PathOf(record.Id, RecordSuffix), Json(record));
        }
    }

    internal void Remove(LeaseRecord record, bool isShared)
    {
        if (isShared)
        {
            shared!.Remove(record);
            return;
        }

        DurableFile.Delete(PathOf(record.Id, RecordSuffix));
        File.Delete(PathOf(record.Id, LockSuffix));
    }

    private static byte[] Json(LeaseRecord record) => JsonSerializer.SerializeToUtf8Bytes(record, LeaseJson.Default.LeaseRecord);

    private string PathOf(Guid id, string suffix) => Path.Combine(folder, id.ToString("N") + suffix);

    private LeaseRecord? Read(Guid id)
    {
        try
        {
            LeaseRecord? record = JsonSerializer.Deserialize(File.ReadAllBytes(PathOf(id, RecordSuffix)), LeaseJson.Default.LeaseRecord);
            return record?.Id == id ? record : throw new InvalidDataException($"{PathOf(id, RecordSuffix)}: not the lease of its name");
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{PathOf(id, RecordSuffix)}: {e.Message}", e);
        }
    }

    private FileStream? TryLock(Guid id)
    {
        try
        {
            return new FileStream(PathOf(id, LockSuffix), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }
}

/// <summary>A lease that this process holds. Left without being completed, it is somebody's to reap.</summary>
internal sealed class Lease(LeaseJournal journal, LeaseRecord record, IDisposable held, bool isShared = false) : IDisposable
{
    public LeaseRecord Record { get; private set; } = record;

    /// <summary>Writes down more of it before the next act.</summary>
    public void Update(Func<LeaseRecord, LeaseRecord> change)
    {
        Record = change(Record);
        journal.Write(Record, isShared);
    }

    /// <summary>Nothing of it is left.</summary>
    public void Complete()
    {
        journal.Remove(Record, isShared);
        held.Dispose();
    }

    /// <summary>Undoes what was made under it, after something went wrong that says more than a failure of this. What cannot be undone stays, and the reaper tries again.</summary>
    /// <param name="also">What else goes, after it.</param>
    public void Abandon(Action undo, IDisposable? also = null)
    {
        try
        {
            using (also)
            using (this)
            {
                undo();
                Complete();
            }
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            Log.Warning("the lease {Lease} of {Vm} stays for now: {Reason}", Record.Key, Record.VmName, e.Message);
        }
    }

    public void Dispose() => held.Dispose();
}
