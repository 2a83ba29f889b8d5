using System.Globalization;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Worker;

/// <summary>A disk's files as a worker sees them.</summary>
internal static class DiskBinds
{
    /// <summary>The plan with sandbox paths, and what must be bound for it.</summary>
    public static (ChainPlan Plan, List<(string Host, string Inside)> Binds) Of(ChainPlan plan, Sandbox sandbox)
    {
        List<(string Host, string Inside)> binds =
            [.. plan.Files.Select(f => (f.Path, sandbox.Inside(f.Path, "image/" + f.Id.ToString(CultureInfo.InvariantCulture))))];
        return (plan with { Files = [.. plan.Files.Select((f, i) => f with { Path = binds[i].Inside })] }, binds);
    }
}
