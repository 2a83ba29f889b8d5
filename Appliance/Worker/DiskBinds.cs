using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>The files of a VM's disks as a worker sees them.</summary>
internal static class DiskBinds
{
    /// <summary>The plans with sandbox paths, and what must be bound for them.</summary>
    public static (List<ChainPlan> Plans, List<(string Host, string Inside)> Binds) Of(IReadOnlyList<VmDisk> disks, Sandbox sandbox)
    {
        // A base that several disks share is bound once.
        var inside = new Dictionary<string, string>(StringComparer.Ordinal);
        List<ChainPlan> plans = [.. disks.Select(d => d.Plan with { Files = [.. d.Plan.Files.Select(f => f with { Path = Inside(f.Path) })] })];
        return (plans, [.. inside.Select(b => (b.Key, b.Value))]);

        string Inside(string path)
        {
            if (!inside.TryGetValue(path, out string? name))
            {
                inside.Add(path, name = sandbox.Inside(path, "image/" + inside.Count.ToString(CultureInfo.InvariantCulture)));
            }

            return name;
        }
    }

    /// <summary>What stands before the volume ids of a disk: nothing, or <c>d2</c> where a VM has several.</summary>
    public static string Prefix(int index, int count) => count > 1 ? string.Create(CultureInfo.InvariantCulture, $"d{index + 1}") : "";
}
