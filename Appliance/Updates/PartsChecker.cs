using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Updates;

/// <summary>Has the parts of a bundle checked in a worker: rules are compiled by a native library, and whoever wrote them is not us.</summary>
internal sealed class PartsChecker(Sandbox sandbox, IWorker worker, CancellationToken cancellation)
{
    private static readonly WorkerLimits Limits = new(3L << 30, 3600);

    /// <summary>What stands in each part.</summary>
    /// <param name="folder">What the parts' paths are relative to.</param>
    /// <exception cref="BundleException">Something is wrong with a part.</exception>
    public IReadOnlyList<BundlePart> Count(string folder, IReadOnlyList<BundlePart> parts)
    {
        string inside = sandbox.Inside(folder, "bundle");
        IReadOnlyList<long> counts = [];
        WorkerOutcome outcome = worker.Run(
            new CheckPartsJob(inside, [.. parts.Select(p => p.Path)]) { Limits = Limits },
            [(folder, inside)],
            message => counts = message is PartsCheckedEvent counted ? counted.Counts : counts,
            null,
            cancellation);
        cancellation.ThrowIfCancellationRequested();
        string detail = outcome.Detail.Replace(inside + "/", "", StringComparison.Ordinal);
        if (outcome.End == WorkerEnd.Done && parts.Any(p => p.Kind == PartKind.ClamAv) && ClamAvCheck.IsPossible)
        {
            ClamAvCheck.Run([.. parts.Where(p => p.Kind == PartKind.ClamAv).Select(p => Path.Combine(folder, p.Path))], folder, cancellation);
        }

        return outcome.End != WorkerEnd.Done ? throw new BundleException(outcome.End == WorkerEnd.Failed ? detail : "the parts could not be checked: " + detail)
            : counts.Count != parts.Count ? throw new BundleException("the parts could not be checked")
            : [.. parts.Zip(counts, (p, c) => p with { Count = c })];
    }

    /// <exception cref="BundleException">Something is wrong with a part, or it is not what the manifest counts.</exception>
    public void Check(OpenBundle bundle)
    {
        foreach ((BundlePart said, BundlePart found) in bundle.Manifest.Parts.Zip(Count(bundle.PartsFolder, bundle.Manifest.Parts)))
        {
            if (said.Count != found.Count)
            {
                throw new BundleException($"part {said.Path}", $"the manifest counts {said.Count}, but {found.Count} stand in it");
            }
        }
    }
}
