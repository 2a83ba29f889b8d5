using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>Whatever is changed in the rules, a scan that remembers says what a scan says that does not.</summary>
public sealed class RuleChangeTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Findings_are_equal_with_and_without_a_cache(int seed)
    {
        using var scan = new CachedScan(seed);
        var rules = new RuleChanges(scan.Random);
        rules.Add(25);
        long cached = 0;
        long findings = 0;
        for (int step = 0; step < 10; step++)
        {
            scan.Write(rules.Files());
            Report with = scan.Scan(withState: true, Cancellation);
            Report without = scan.Scan(withState: false, Cancellation);
            Assert.Equal(CachedScan.Said(without), CachedScan.Said(with));
            Assert.Equal(0, without.Totals.FilesCached);
            cached += with.Totals.FilesCached;
            findings += with.Totals.Findings;
            for (int changes = scan.Random.Next(4); changes > 0; changes--)
            {
                rules.Change();
            }
        }

        // A cache that never knows anything, or rules that never match, would make all of this empty.
        Assert.True(cached > 150, $"only {cached} files were known");
        Assert.True(findings > 100, $"only {findings} findings");
    }

    [Fact]
    public void Verdicts_on_what_is_inside_hold_under_the_same_budgets_passwords_and_hash_lists_alone()
    {
        using var scan = new CachedScan(6);
        scan.Write(new Dictionary<string, string> { ["a.yar"] = "rule a { strings: $a = /w[0-9]+x/ condition: $a }\nrule n { strings: $a = /w[0-9]+x/ condition: $a and extension == \".exe\" }\n" });
        Report plain = Scan(s => s);
        string member = plain.Targets[0].Findings.First(f => f.Inside?.Count > 1).Sha256;
        string bad = scan.Hashes("bad", member);
        Func<ScanSettings, ScanSettings>[] changes =
        [
            s => s with { Archives = new ArchiveLimits { Depth = 1 } },
            s => s with { Archives = new ArchiveLimits { Members = 3 } },
            s => s with { Archives = new ArchiveLimits { Bytes = 50 } },
            s => s with { Archives = new ArchiveLimits { Passwords = ["nobody"] } },
            s => s with { Archives = null },
            s => s with { HashLists = [bad], Engines = ["yara", "hash"] },
            s => s with { KnownGood = [bad] },
            s => s,
        ];
        HashSet<string> different = [];
        foreach (Func<ScanSettings, ScanSettings> change in changes.Concat(changes))
        {
            Report report = Scan(change);
            different.Add(string.Join('\n', CachedScan.Said(report)));
        }

        Assert.Equal(changes.Length, different.Count);

        Report Scan(Func<ScanSettings, ScanSettings> change)
        {
            scan.Change = change;
            Report report = scan.Scan(withState: true, Cancellation);
            Assert.Equal(CachedScan.Said(scan.Scan(withState: false, Cancellation)), CachedScan.Said(report));
            return report;
        }
    }

    [Fact]
    public void After_a_change_only_what_it_touches_is_found_out_anew()
    {
        using var scan = new CachedScan(5);
        Dictionary<string, string> rules = new() { ["a.yar"] = "rule a { strings: $a = \"w01x\" condition: $a }\nrule b { strings: $a = \"w02x\" condition: $a }\n" };
        long all = Scan(0);
        Scan(all);
        rules["a.yar"] += "rule c { strings: $a = \"w03x\" condition: $a }\n";
        Scan(all);
        Scan(all);
        rules["a.yar"] = rules["a.yar"].Replace("rule b", "rule  b", StringComparison.Ordinal);
        Scan(all);
        rules["a.yar"] = "rule a { strings: $a = \"w01x\" condition: $a }\n";
        Scan(all);
        rules["b.yar"] = "rule n { condition: filename contains \"invoice\" }";
        Scan(all);
        rules.Remove("b.yar");
        rules["a.yar"] += "global rule g { condition: filesize < 40 }\n";
        Scan(all);

        long Scan(long known)
        {
            scan.Write(rules);
            Report report = scan.Scan(withState: true, Cancellation);
            Assert.Equal(CachedScan.Said(scan.Scan(withState: false, Cancellation)), CachedScan.Said(report));
            long twins = report.Totals.FilesScanned - report.Totals.FilesCached;
            Assert.True(known == 0 ? report.Totals.FilesCached == 0 : twins < 10, $"{report.Totals.FilesCached} of {report.Totals.FilesScanned} known");
            return report.Totals.FilesScanned;
        }
    }
}
