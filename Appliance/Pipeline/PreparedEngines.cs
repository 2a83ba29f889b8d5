using System.Security.Cryptography;
using System.Text;
using Serilog;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// What a run matches with beside its rules, made ready once for all its workers: hash lists as compiled sets, and a way to <c>clamd</c>. Lists are
/// the operator's own and need files to be sorted in, so that this is done here and not in a worker.
/// </summary>
internal sealed class PreparedEngines : IDisposable
{
    private PreparedEngines()
    {
    }

    /// <summary>Compiled sets on the host.</summary>
    public List<string> HashSets { get; } = [];

    /// <summary>The same of known-good hashes.</summary>
    public List<string> KnownGood { get; } = [];

    /// <summary>What verdicts that hang on hash lists hang on, known-good ones too: these keep members from being matched.</summary>
    public byte[] ListsDigest => SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', Reports.Where(r => r.Name == HashSet.EngineName).Select(r => r.Bundle).Append("").Concat(KnownGoodDigests))));

    /// <summary>Null when ClamAV takes no part.</summary>
    public ClamdGate? Clamd { get; private set; }

    /// <summary>The daemon has loaded what the bundle has for it.</summary>
    public bool HasClamAvParts { get; private set; }

    public bool CanMatch => Clamd is not null || HashSets.Count > 0;

    /// <summary>Digests of those.</summary>
    public IReadOnlyList<string> KnownGoodDigests { get; private set; } = [];

    public List<EngineReport> Reports { get; } = [];

    public List<RuleFaultReport> Faults { get; } = [];

    /// <exception cref="JobFailedException">A list is empty or, with strict rules, has a line that is no hash.</exception>
    public static PreparedEngines Make(ScanSettings settings, RunFolder run, CancellationToken cancellation)
    {
        var prepared = new PreparedEngines();
        try
        {
            prepared.PrepareClamd(settings, run, cancellation);
            prepared.PrepareHashes(settings, run, cancellation);
            return prepared;
        }
        catch
        {
            prepared.Dispose();
            throw;
        }
    }

    public void Dispose() => Clamd?.Dispose();

    private void PrepareClamd(ScanSettings settings, RunFolder run, CancellationToken cancellation)
    {
        if (!settings.Engines.Contains(ClamdEngine.EngineName))
        {
            return;
        }

        try
        {
            ClamdState state = ClamdState.Ask(settings.ClamdSocket, settings.ClamdDatabaseFolder, cancellation);
            bool hasParts = settings.Bundle is { } bundle && bundle.Holds(ClamdEngine.EngineName);
            HasClamAvParts = hasParts && ClamdParts.IsLoaded(settings.ClamdSocket, settings.Bundle!.Digest, cancellation);
            string[] faults = [.. state.TellsLimits ? (string[])[] : [SilentOnLimits], .. hasParts && !HasClamAvParts ? (string[])[PartsNotLoaded] : []];
            Reports.Add(new EngineReport(ClamdEngine.EngineName, state.Version, state.Signatures, "")
            {
                SignatureDate = state.DatabaseDate,
                Fault = faults.Length == 0 ? null : string.Join("; ", faults),
            });
            Clamd = new ClamdGate(run.File("clamd"), settings.ClamdSocket, TimeSpan.FromSeconds(settings.MatchTimeoutSeconds));
        }
        catch (ClamdException e)
        {
            Log.Warning("{Detail}", e.Message);
            Reports.Add(new EngineReport(ClamdEngine.EngineName, EngineReport.Unknown, null, "") { Fault = e.Message });
        }
    }

    /// <summary>What is wrong with a daemon in its default configuration.</summary>
    public const string SilentOnLimits =
        "clamd says OK of what it scanned only in part; set AlertExceedsMax and ScanArchive to yes in clamd.conf";

    private const string PartsNotLoaded = "clamd has not loaded the signature bundle's parts for it, so that they were not applied; vmsweep signatures list says why";

    private void PrepareHashes(ScanSettings settings, RunFolder run, CancellationToken cancellation)
    {
        if (settings.Engines.Contains(HashSet.EngineName))
        {
            IReadOnlyList<HashSetFacts> facts = Prepare(HashSetKind.Bad, settings.HashLists, settings.StoredHashSets, HashSets, settings, run, cancellation);
            if (facts.Count > 0)
            {
                Reports.Add(EngineReport.Of(Signatures.Hashes.HashSets.FactsOf(facts)));
            }
            else if (settings.IsAskedFor(HashSet.EngineName))
            {
                Reports.Add(new EngineReport(HashSet.EngineName, EngineReport.Unknown, 0, "") { Fault = "no list or set of hashes is given (--hashes)" });
            }
        }

        KnownGoodDigests = [.. Prepare(HashSetKind.KnownGood, settings.KnownGood, settings.StoredKnownGood, KnownGood, settings, run, cancellation).Select(f => f.Digest)];
    }

    private IReadOnlyList<HashSetFacts> Prepare(
        HashSetKind kind, IReadOnlyList<string> paths, IReadOnlyList<string> stored, List<string> sets, ScanSettings settings, RunFolder run, CancellationToken cancellation)
    {
        HashSetFiles files = HashSetFiles.Make(kind, paths, stored, run.File(kind == HashSetKind.Bad ? "hashes" : "known-good"), cancellation);
        if (settings.StrictRules && files.Faults.Count > 0)
        {
            throw new JobFailedException(RuleFaultReport.Text(files.Faults));
        }

        if (files.AreListsEmpty)
        {
            throw new JobFailedException($"there is no hash in what {(kind == HashSetKind.Bad ? "--hashes" : "--known-good")} names\n{RuleFaultReport.Text(files.Faults)}");
        }

        Faults.AddRange(files.Faults);
        sets.AddRange(files.Paths);
        return files.Facts;
    }
}
