using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>All that VMs are scanned with, made ready once and used by one thread, for one VM after the other.</summary>
internal sealed class ScanLane : IDisposable
{
    private readonly bool _ownsEngines;
    private readonly Lazy<RuleIndex?> _rules;

    private ScanLane(RunFolder run, PreparedEngines engines, bool ownsEngines, VerdictCache? cache, PreparedRules prepared, IReadOnlyList<EngineReport> reports)
    {
        Run = run;
        Engines = engines;
        _ownsEngines = ownsEngines;
        Cache = cache;
        Prepared = prepared;
        Reports = reports;
        _rules = new(() => prepared.Rules?.Index());
    }

    public RunFolder Run { get; }

    public PreparedEngines Engines { get; }

    public VerdictCache? Cache { get; }

    public PreparedRules Prepared { get; }

    /// <summary>The YARA rules in use, for whoever records results; null where that is not known.</summary>
    public RuleIndex? RuleIndex => _rules.Value;

    /// <summary>The engines as reports have them.</summary>
    public IReadOnlyList<EngineReport> Reports { get; }

    /// <param name="shared">The engines of another lane, which must outlive this one; null to make them ready.</param>
    /// <exception cref="JobFailedException">The rules cannot be used.</exception>
    public static ScanLane Open(ScanSettings settings, Sandbox sandbox, IWorker worker, TimeProvider time, CancellationToken cancellation, PreparedEngines? shared = null)
    {
        var run = new RunFolder();
        VerdictCache? cache = null;
        PreparedEngines? engines = shared;
        try
        {
            cache = settings.StateFolder is { } folder && (settings.OnlyChanges || settings.Engines.Contains(YaraRules.EngineName)) ? VerdictCache.Open(new DatabasePlace(folder, settings.Server), time) : null;
            engines ??= PreparedEngines.Make(settings, run, cancellation);
            PreparedRules prepared = new RulePreparation(settings, sandbox, worker, cache, ScanRun.Limits(settings, 0), cancellation).Run(run, engines.ListsDigest);
            prepared = prepared with { Engines = [.. prepared.Engines, .. engines.Reports], Faults = [.. prepared.Faults, .. engines.Faults] };
            if (prepared.Engines.FirstOrDefault(e => e.Fault is not null) is { } missing && prepared.Rules is null && !engines.CanMatch)
            {
                throw new JobFailedException($"no engine can match: {missing.Name}: {missing.Fault}");
            }

            // A bundle's id stands for all sources in it, and is what "signatures list" shows.
            return new ScanLane(
                run, engines, shared is null, cache, prepared, [.. prepared.Engines.Select(e => settings.Bundle is { } bundle && bundle.Holds(e.Name) && (e.Name != ClamdEngine.EngineName || engines.HasClamAvParts) ? e with { Bundle = bundle.Id } : e)]);
        }
        catch
        {
            if (shared is null)
            {
                engines?.Dispose();
            }

            cache?.Dispose();
            run.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        if (_ownsEngines)
        {
            Engines.Dispose();
        }

        Cache?.Dispose();
        Run.Dispose();
    }
}
