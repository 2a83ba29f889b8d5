using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The engines of a scan.</summary>
internal sealed class Engines : IDisposable
{
    /// <summary>Engines that look at content.</summary>
    public required IReadOnlyList<IEngine> ByContent { get; init; }

    /// <summary>Known malware; null when no set is given.</summary>
    public HashSets? Hashes { get; init; }

    /// <summary>Known software; null when no set is given.</summary>
    public HashSets? KnownGood { get; init; }

    /// <summary>Contents are looked up by their hashes.</summary>
    public bool LooksUpHashes => Hashes is not null || KnownGood is not null;

    public HashNeeds HashNeeds => new(
        (Hashes?.NeedsSha1 ?? false) || (KnownGood?.NeedsSha1 ?? false),
        (Hashes?.NeedsMd5 ?? false) || (KnownGood?.NeedsMd5 ?? false));

    public static Engines Load(ScanJob job)
    {
        TimeSpan timeout = TimeSpan.FromSeconds(job.TimeoutSeconds);
        List<IEngine> engines = [];
        if (job.RulesPath is { } path)
        {
            using FileStream file = File.OpenRead(path);
            engines.Add(YaraRules.Load(file, new YaraOptions { Timeout = timeout }));
        }

        if (job.ClamdSocket is { } socket)
        {
            engines.Add(new ClamdEngine(new ClamdOptions { Socket = socket, Timeout = timeout, Outage = timeout * 0.75 }, ""));
        }

        return new Engines
        {
            ByContent = engines,
            Hashes = job.HashSets.Count > 0 ? HashSets.Open(job.HashSets, HashSetKind.Bad) : null,
            KnownGood = job.KnownGood.Count > 0 ? HashSets.Open(job.KnownGood, HashSetKind.KnownGood) : null,
        };
    }

    public bool IsKnownGood(ContentHashes hashes) => KnownGood?.Contains(hashes.Sha256, hashes.Sha1, hashes.Md5) ?? false;

    public void Dispose()
    {
        foreach (IEngine engine in ByContent)
        {
            engine.Dispose();
        }

        Hashes?.Dispose();
        KnownGood?.Dispose();
    }
}
