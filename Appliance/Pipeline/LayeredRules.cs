using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Rules that were compiled together.</summary>
/// <param name="File">The file that holds them.</param>
/// <param name="Part">Where.</param>
/// <param name="Index">The rules of their own compilation; null when all of them are in use.</param>
internal sealed record RuleLayer(string File, DataPart Part, RuleIndex? Index);

/// <summary>
/// YARA rules that were compiled in one or two steps, as one engine. They are loaded when the first content needs them: a scan of which all
/// verdicts are known never does.
/// </summary>
/// <param name="index">The rules in use: what an earlier compilation holds beside them is not reported.</param>
internal sealed class LayeredRules(IReadOnlyList<RuleLayer> layers, Lazy<RuleIndex> index, YaraOptions options) : IEngine
{
    private readonly IReadOnlyList<RuleLayer> _layers = layers;
    private readonly Lazy<RuleIndex> _index = index;
    private readonly Lazy<YaraRules>[] _rules = [.. layers.Select(l => new Lazy<YaraRules>(() => Load(l, options)))];

    public EngineFacts Facts => new(YaraRules.EngineName, _rules[0].Value.Facts.Version, _rules.Sum(r => r.Value.Facts.Rules), "");

    /// <summary>Whoever makes this knows which rules ask for names, and gives each kind its own engine.</summary>
    public bool UsesNames { get; init; }

    public IMatcher CreateMatcher() => new Matcher(this);

    public void Dispose()
    {
        foreach (Lazy<YaraRules> rules in _rules.Where(r => r.IsValueCreated))
        {
            rules.Value.Dispose();
        }
    }

    private static YaraRules Load(RuleLayer layer, YaraOptions options)
    {
        // Of some ten thousand small pieces, most of them.
        FileStream file = new(layer.File, new FileStreamOptions { BufferSize = 1 << 16 });
        try
        {
            file.Seek(layer.Part.Offset, SeekOrigin.Begin);
            return YaraRules.Load(file, options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>An earlier compilation may hold rules that were removed or changed since.</summary>
    private bool IsInUse(RuleLayer layer, Detection detection) =>
        layer.Index is null || (layer.Index.IdOf(detection.Namespace, detection.Rule) is { } id && _index.Value.IdOf(detection.Namespace, detection.Rule) == id);

    private sealed class Matcher(LayeredRules owner) : IMatcher
    {
        private readonly IMatcher?[] _matchers = new IMatcher?[owner._layers.Count];
        private readonly List<Detection> _found = [];

        public MatchFault? Match(ReadOnlySpan<byte> content, in ContentFacts facts, List<Detection> found, CancellationToken cancellation)
        {
            MatchFault? fault = null;
            _found.Clear();
            for (int i = 0; i < _matchers.Length; i++)
            {
                int before = _found.Count;
                fault = (_matchers[i] ??= owner._rules[i].Value.CreateMatcher()).Match(content, facts, _found, cancellation) ?? fault;
                RuleLayer layer = owner._layers[i];
                for (int at = _found.Count - 1; at >= before; at--)
                {
                    if (!owner.IsInUse(layer, _found[at]))
                    {
                        _found.RemoveAt(at);
                    }
                }
            }

            found.AddRange(_matchers.Length > 1 ? _found.OrderBy(owner._index.Value.OrdinalOf) : _found);
            return fault;
        }

        public void Dispose() => Array.ForEach(_matchers, m => m?.Dispose());
    }
}
