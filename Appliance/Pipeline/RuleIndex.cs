using System.Text.Json;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The rules of a compilation by the names that detections have.</summary>
internal sealed class RuleIndex
{
    private readonly Dictionary<(string Namespace, string Name), (int Ordinal, UInt128 Id)> _rules = [];

    public RuleIndex(IEnumerable<RuleIdentity> rules)
    {
        foreach (RuleIdentity rule in rules.Where(r => !r.IsPrivate))
        {
            _rules.Add((rule.Namespace, rule.Name), (_rules.Count, rule.Id));
        }
    }

    public static RuleIndex Load(RuleFileParts file)
    {
        using FileStream stream = File.OpenRead(file.Path);
        byte[] json = new byte[file.Parts.Index.Length];
        stream.Seek(file.Parts.Index.Offset, SeekOrigin.Begin);
        stream.ReadExactly(json);
        return new RuleIndex(JsonSerializer.Deserialize(json, MessageJson.Default.ListRuleIdentity) ?? []);
    }

    /// <summary>Null for a rule that is not in use.</summary>
    public UInt128? IdOf(string ns, string name) => _rules.TryGetValue((ns, name), out (int, UInt128 Id) rule) ? rule.Id : null;

    /// <summary>Its place in reports; what is no rule of these comes last.</summary>
    public int OrdinalOf(Detection detection) =>
        detection.Engine == YaraRules.EngineName && _rules.TryGetValue((detection.Namespace, detection.Rule), out (int Ordinal, UInt128) rule) ? rule.Ordinal : int.MaxValue;
}
