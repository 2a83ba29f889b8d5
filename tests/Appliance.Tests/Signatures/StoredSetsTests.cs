using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Tests.Signatures;

/// <summary>A scan maps what was compiled when the bundle was installed, and sorts nothing again.</summary>
public sealed class StoredSetsTests : IDisposable
{
    private readonly PublisherKit _kit = new();

    public void Dispose() => _kit.Dispose();

    private ScanSignatures Choose(params string[] hashes) => ScanSignatures.Choose([], hashes, withBuiltin: false, [], _kit.State, TimeProvider.System);

    private HashSetFiles Make(HashSetKind kind, IReadOnlyList<string> lists, IReadOnlyList<string> sets) =>
        HashSetFiles.Make(kind, lists, sets, _kit["compiled"], CancellationToken.None);

    [Fact]
    public void Sets_of_the_bundle_are_taken_as_they_are_and_loose_lists_are_compiled_beside_them()
    {
        _kit.Rule("rule one { condition: true }");
        _kit.Rule(new string('a', 64), "hashes/h.txt");
        _kit.Rule(new string('b', 64), "known-good/g.txt");
        _kit.Install(_kit.Bundle(1));
        File.WriteAllText(_kit["loose.txt"], new string('c', 64));
        using ScanSignatures chosen = Choose();
        Assert.Empty(chosen.HashLists.Concat(chosen.KnownGoodLists));
        HashSetFiles good = Make(HashSetKind.KnownGood, chosen.KnownGoodLists, chosen.KnownGoodSets);
        HashSetFiles bad = Make(HashSetKind.Bad, chosen.HashLists, chosen.HashSets);
        Assert.False(File.Exists(_kit["compiled"]));
        Assert.Equal((1, 1, false), (Assert.Single(good.Facts).Count, Assert.Single(bad.Facts).Count, bad.AreListsEmpty));
        Assert.All(good.Paths.Concat(bad.Paths), p => Assert.StartsWith(_kit.State, p, StringComparison.Ordinal));

        using ScanSignatures more = Choose(_kit["loose.txt"]);
        HashSetFiles both = Make(HashSetKind.Bad, more.HashLists, more.HashSets);
        Assert.Equal([_kit["compiled"], .. bad.Paths], both.Paths);
        using HashSets sets = HashSets.Open(both.Paths, HashSetKind.Bad);
        Assert.All("ac", c => Assert.True(sets.Contains(Convert.FromHexString(new string(c, 64)))));
        Assert.False(sets.Contains(Convert.FromHexString(new string('b', 64))));
    }

    /// <summary>As a bundle of an earlier version has none, and one of a later version perhaps another form.</summary>
    [Fact]
    public void Without_a_set_that_can_be_used_the_lists_are_compiled_for_the_run()
    {
        _kit.Rule("rule one { condition: true }");
        _kit.Rule(new string('a', 64), "hashes/h.txt");
        _kit.Install(_kit.Bundle(1));
        string set;
        using (ScanSignatures chosen = Choose())
        {
            set = Assert.Single(chosen.HashSets);
        }

        File.WriteAllBytes(set, File.ReadAllBytes(set)[..^1]);
        using ScanSignatures later = Choose();
        Assert.Empty(later.HashSets);
        Assert.Equal("h.txt", Path.GetFileName(Assert.Single(later.HashLists)));
        Assert.Equal([_kit["compiled"]], Make(HashSetKind.Bad, later.HashLists, later.HashSets).Paths);
    }
}
