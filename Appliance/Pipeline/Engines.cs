using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The engines of a scan.</summary>
internal static class Engines
{
    public static IReadOnlyList<IEngine> Load(ScanJob job)
    {
        List<IEngine> engines = [];
        if (job.RulesPath is { } path)
        {
            using FileStream file = File.OpenRead(path);
            engines.Add(YaraRules.Load(file, new YaraOptions { Timeout = TimeSpan.FromSeconds(job.TimeoutSeconds) }));
        }

        return engines;
    }
}
