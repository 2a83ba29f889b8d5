namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>The key of every lease that was ever made under a state folder, however short it was: views lie in folders of these names.</summary>
internal sealed class SeenLeases : IDisposable
{
    /// <summary>Where views lie unless a connector is configured otherwise.</summary>
    private const string DefaultViews = "/run/vmsweep/views";

    private readonly FileSystemWatcher _watcher;
    private readonly HashSet<string> _keys = [];

    public SeenLeases(string state)
    {
        // Owners lock this file before they write down the lease.
        _watcher = new FileSystemWatcher(Directory.CreateDirectory(Path.Combine(state, "leases")).FullName, "*.held");
        _watcher.Created += (_, made) =>
        {
            lock (_keys)
            {
                _keys.Add(Path.GetFileNameWithoutExtension(made.Name!));
            }
        };
        _watcher.EnableRaisingEvents = true;
    }

    /// <summary>No view of any of them is left, neither in the default place, which other programs of this machine use too, nor in the one that was configured.</summary>
    /// <param name="key">Of a lease that must be among them: that of the scan before.</param>
    public void AssertNoView(string? configured, string? key = null)
    {
        string[] keys;
        lock (_keys)
        {
            keys = [.. _keys];
        }

        if (key is not null)
        {
            Assert.Contains(key, keys);
        }

        Assert.DoesNotContain(keys, k => Path.Exists(Path.Combine(DefaultViews, k)) || (configured is not null && Path.Exists(Path.Combine(configured, k))));
    }

    public void Dispose() => _watcher.Dispose();
}
