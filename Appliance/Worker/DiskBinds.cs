using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>The files of a VM's disks as a worker sees them.</summary>
internal static class DiskBinds
{
    /// <summary>The plans with sandbox paths, and what must be bound for them. A file that several images lie in is bound once.</summary>
    public static (List<ChainPlan> Plans, List<(string Host, string Inside)> Binds) Of(IReadOnlyList<VmDisk> disks, Sandbox sandbox)
    {
        List<(string Host, string Inside)> binds = [];
        var inside = new Dictionary<string, string>(StringComparer.Ordinal);
        return ([.. disks.Select(d => d.Plan with { Files = [.. d.Plan.Files.Select(Bound)] })], binds);

        PlannedFile Bound(PlannedFile file) => file with { Path = Bind(file.Path), More = [.. file.More.Select(m => m with { Path = Bind(m.Path) })] };

        string Bind(string host)
        {
            if (!inside.TryGetValue(host, out string? path))
            {
                path = sandbox.Inside(host, "image/" + inside.Count.ToString(CultureInfo.InvariantCulture));
                inside.Add(host, path);
                binds.Add((host, path));
            }

            return path;
        }
    }

    /// <summary>The sockets among a job's files: a worker may connect to nothing else.</summary>
    public static IReadOnlyList<string> Sockets(IEnumerable<ChainPlan> plans) => [.. plans.SelectMany(p => p.Files).Where(f => f.Export is not null).Select(f => f.Path).Distinct()];

    /// <summary>The same for a VM's memory.</summary>
    public static MemoryPlan? Of(VmMemory? memory, Sandbox sandbox, List<(string Host, string Inside)> binds)
    {
        return memory is null ? null : memory.Plan with { Files = [.. memory.Plan.Files.Select(Bound)] };

        PlannedFile Bound(PlannedFile file)
        {
            string inside = sandbox.Inside(file.Path, string.Create(CultureInfo.InvariantCulture, $"memory/{file.Id}"));
            binds.Add((file.Path, inside));
            return file with { Path = inside };
        }
    }

    /// <summary>What stands before the volume ids of a disk: nothing, or <c>d2</c> where a VM has several.</summary>
    public static string Prefix(int index, int count) => count > 1 ? string.Create(CultureInfo.InvariantCulture, $"d{index + 1}") : "";
}
