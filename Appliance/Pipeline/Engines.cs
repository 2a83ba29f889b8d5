using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>The engines of a scan.</summary>
internal sealed class Engines : IDisposable
{
    /// <summary>Engines that look at content.</summary>
    public required IReadOnlyList<IEngine> ByContent { get; init; }

    /// <summary>Known hashes; null when none are given.</summary>
    public HashList? Hashes { get; init; }

    /// <summary>How what is inside of contents is opened; null where nobody looks.</summary>
    public ArchiveContents? Archives { get; set; }

    public HashNeeds HashNeeds => new(Hashes?.NeedsSha1 ?? false, Hashes?.NeedsMd5 ?? false);

    public static Engines Load(ScanJob job)
    {
        List<IEngine> engines = [];
        if (job.RulesPath is { } path)
        {
            using FileStream file = File.OpenRead(path);
            engines.Add(YaraRules.Load(file, new YaraOptions { Timeout = TimeSpan.FromSeconds(job.TimeoutSeconds) }));
        }

        // What is wrong with the lists was reported when the rules were compiled.
        return new Engines { ByContent = engines, Hashes = job.HashLists.Count > 0 ? HashList.Read(job.HashLists, []) : null };
    }

    public void Dispose()
    {
        foreach (IEngine engine in ByContent)
        {
            engine.Dispose();
        }
    }
}
