using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Hash lists and sets of a run as compiled sets.</summary>
/// <param name="Paths">On the host.</param>
/// <param name="Faults">Lines that were left out.</param>
/// <param name="AreListsEmpty">There are lists, and no hash in any of them.</param>
internal sealed record HashSetFiles(IReadOnlyList<string> Paths, IReadOnlyList<HashSetFacts> Facts, IReadOnlyList<RuleFaultReport> Faults, bool AreListsEmpty)
{
    /// <summary>Compiled sets are checked to their end and taken as they are; all lists together become one more.</summary>
    /// <param name="stored">Sets of the bundle, which were made when it was installed: of these only header and index are read.</param>
    /// <param name="compiled">Where that is written.</param>
    /// <exception cref="HashSetException">A compiled set is damaged, or of the other kind.</exception>
    public static HashSetFiles Make(HashSetKind kind, IReadOnlyList<string> paths, IReadOnlyList<string> stored, string compiled, CancellationToken cancellation)
    {
        List<string> sets = [];
        List<HashSetFacts> facts = [];
        List<string> lists = [];
        foreach (string path in paths)
        {
            if (HashSet.IsCompiled(path))
            {
                facts.Add(HashSet.Verify(path, kind));
                sets.Add(path);
            }
            else
            {
                lists.Add(path);
            }
        }

        List<RuleFaultReport> faults = [];
        if (lists.Count > 0)
        {
            using var builder = new HashSetBuilder(kind);
            lists.ForEach(l => builder.AddFile(l, cancellation));
            faults.AddRange(builder.Faults.Select(f => new RuleFaultReport(f.File, f.Line, f.Message)));
            if (builder.Taken == 0)
            {
                return new HashSetFiles(sets, facts, faults, AreListsEmpty: true);
            }

            facts.Add(builder.Build(compiled));
            sets.Add(compiled);
        }

        foreach (string path in stored)
        {
            using HashSet set = HashSet.Open(path, kind);
            facts.Add(set.Facts);
            sets.Add(path);
        }

        return new HashSetFiles(sets, facts, faults, AreListsEmpty: false);
    }
}
