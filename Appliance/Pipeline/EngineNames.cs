using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The engines that <c>--engine</c> chooses from.</summary>
internal static class EngineNames
{
    public static readonly string[] All = [YaraRules.EngineName, ClamdEngine.EngineName, HashSet.EngineName];
}
