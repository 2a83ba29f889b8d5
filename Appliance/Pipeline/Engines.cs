using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The engines of a scan.</summary>
internal sealed record Engines : IDisposable
{
    /// <summary>Engines whose verdict follows from the content alone.</summary>
    public required IReadOnlyList<IEngine> ByContent { get; init; }

    /// <summary>Engines that ask for names, owners or the time as well: they match under each name, and nothing of theirs is remembered.</summary>
    public IReadOnlyList<IEngine> Volatile { get; init; } = [];

    /// <summary>How what is inside of contents is opened; null where nobody looks.</summary>
    public ArchiveContents? Archives { get; init; }

    /// <summary>Engines whose verdict follows from the content alone, but which do not say what they match with: nothing of theirs is remembered.</summary>
    public IReadOnlyList<IEngine> Unkept { get; init; } = [];

    /// <summary>By plan what is run over content whose verdict is known; nothing where nothing was added.</summary>
    public IReadOnlyList<IReadOnlyList<IEngine>> Added { get; init; } = [];

    /// <summary>The YARA rules in use.</summary>
    public Lazy<RuleIndex> Rules { get; init; } = new(() => new RuleIndex([]));

    /// <summary>Known malware; null when no set is given.</summary>
    public HashSets? Hashes { get; init; }

    /// <summary>Known software; null when no set is given.</summary>
    public HashSets? KnownGood { get; init; }

    /// <summary>
    /// A member that comes again is not matched again, for which every member is hashed. Where rules are few that costs more than to match it;
    /// then only what may have members of its own is known again.
    /// </summary>
    public bool KnowsMembers { get; init; } = true;

    /// <summary>Contents are looked up by their hashes.</summary>
    public bool LooksUpHashes => Hashes is not null || KnownGood is not null;

    public HashNeeds HashNeeds => new(
        (Hashes?.NeedsSha1 ?? false) || (KnownGood?.NeedsSha1 ?? false),
        (Hashes?.NeedsMd5 ?? false) || (KnownGood?.NeedsMd5 ?? false));

    /// <param name="archives">Null where nothing is opened.</param>
    public static Engines Load(ScanJob job, ArchiveContents? archives)
    {
        TimeSpan timeout = TimeSpan.FromSeconds(job.TimeoutSeconds);
        List<IEngine> content = [];
        List<IEngine> @volatile = [];
        List<IReadOnlyList<IEngine>> added = [];
        Lazy<RuleIndex> index = new(() => new RuleIndex([]));
        if (job.Rules is { } rules)
        {
            var options = new YaraOptions { Timeout = timeout };
            index = new Lazy<RuleIndex>(() => RuleIndex.Load(rules.Own));
            RuleIndex? baseIndex = rules.Base is null ? null : RuleIndex.Load(rules.Base);
            AddTo(content, p => p.Content, usesNames: false);
            AddTo(@volatile, p => p.Volatile, usesNames: true);
            foreach (DataPart part in job.Plans ?? [])
            {
                added.Add(part.IsEmpty ? [] : [new LayeredRules([new RuleLayer(rules.Own.Path, part, null)], index, options)]);
            }

            void AddTo(List<IEngine> engines, Func<CompiledParts, DataPart> part, bool usesNames)
            {
                List<RuleLayer> layers = [];
                if (rules.Base is { } earlier && !part(earlier.Parts).IsEmpty)
                {
                    layers.Add(new RuleLayer(earlier.Path, part(earlier.Parts), baseIndex));
                }

                if (!part(rules.Own.Parts).IsEmpty)
                {
                    layers.Add(new RuleLayer(rules.Own.Path, part(rules.Own.Parts), null));
                }

                if (layers.Count > 0)
                {
                    engines.Add(new LayeredRules(layers, index, options) { UsesNames = usesNames });
                }
            }
        }

        return new Engines
        {
            Archives = archives,
            ByContent = content,
            Volatile = @volatile,
            Added = added,
            Rules = index,
            Unkept = job.ClamdSocket is { } socket ? [new ClamdEngine(new ClamdOptions { Socket = socket, Timeout = timeout, Outage = timeout * 0.75 }, "")] : [],
            Hashes = job.HashSets.Count > 0 ? HashSets.Open(job.HashSets, HashSetKind.Bad) : null,
            KnownGood = job.KnownGood.Count > 0 ? HashSets.Open(job.KnownGood, HashSetKind.KnownGood) : null,
        };
    }

    public bool IsKnownGood(ContentHashes hashes) => KnownGood?.Contains(hashes.Sha256, hashes.Sha1, hashes.Md5) ?? false;

    public void Dispose()
    {
        foreach (IEngine engine in ByContent.Concat(Volatile).Concat(Unkept).Concat(Added.SelectMany(a => a)))
        {
            engine.Dispose();
        }

        Hashes?.Dispose();
        KnownGood?.Dispose();
    }
}
