using System.Globalization;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>A disk's files as a worker sees them.</summary>
internal static class DiskBinds
{
    /// <summary>The plan with sandbox paths, and what must be bound for it. A file that several images lie in is bound once.</summary>
    public static (ChainPlan Plan, List<(string Host, string Inside)> Binds) Of(ChainPlan plan, Sandbox sandbox)
    {
        List<(string Host, string Inside)> binds = [];
        var inside = new Dictionary<string, string>(StringComparer.Ordinal);
        return (plan with { Files = [.. plan.Files.Select(f => f with { Path = Bind(f.Path), More = [.. f.More.Select(m => m with { Path = Bind(m.Path) })] })] }, binds);

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
}
