using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The engines of a scan.</summary>
internal static class Engines
{
    public static IReadOnlyList<IEngine> Load(ScanJob job) => [];
    public static string YaraVersion() => "";
}
