using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Tests.Archives;
using Vmsweep.Signatures.Tests.Yara;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Tests.Archives;

/// <summary>What is inside of contents is matched as the contents themselves are.</summary>
public sealed class ArchiveMatchingTests : IDisposable
{
    private const string EquallyFound =
        """
        rule secret { strings: $a = "secret passphrase" nocase $w = "secret" wide condition: any of them }
        rule program { strings: $a = { 55 48 89 E5 } condition: uint32(0) == 0x464C457F and #a > 3 }
        rule pe { condition: uint16(0) == 0x5A4D }
        rule script { strings: $a = /curl -s [a-z:\/0-9.]+/ condition: $a at 0 or $a }
        rule small { condition: filesize > 0 and filesize < 100 }
        """;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("zip -q -r ../a.zip .")]
    [InlineData("7z a -bd ../a.7z .")]
    [InlineData("tar -cJf ../a.txz *")]
    [InlineData("zip -q -r ../b.zip . && cd .. && tar -cf a.tar b.zip")]
    [InlineData("genisoimage -quiet -R -o ../a.iso .")]
    public void Members_match_what_the_yara_program_matches_in_them_unpacked(string pack)
    {
        List<string> files = SampleFiles.Make(_scratch["in"]);

        // The samples' own archive holds this whole program: a few of its files are as good, and packed in seconds.
        Tool.Shell("rm all.zip; zip -q all.zip plain.txt script.sh mz-only", _scratch["in"]);
        File.WriteAllText(_scratch["rules.yar"], EquallyFound);
        List<string> wanted = YaraProgram.Matches(_scratch["rules.yar"], files);
        Tool.Shell(pack, _scratch["in"]);
        byte[] archive = File.ReadAllBytes(Directory.GetFiles(_scratch.Folder, "a.*").Single());
        using YaraRules rules = Compile(EquallyFound);
        Verdict verdict = Match(archive, rules);
        Assert.Empty(verdict.Gaps);
        Dictionary<string, string> paths = files.ToDictionary(f => Path.GetFileName(f), f => f, StringComparer.Ordinal);
        List<string> found = [.. verdict.Findings
            .Where(f => f.Inner is { Inside: [.., var name] } && paths.ContainsKey(Path.GetFileName(name)))
            .Select(f => YaraProgram.Line(f.Detection, paths[Path.GetFileName(f.Inner!.Inside[^1])]))
            .Order(StringComparer.Ordinal)];

        // Members of members that have a name of ours too, such as those of all.zip, are further findings.
        Assert.All(wanted, w => Assert.Contains(w, found));
        Assert.Contains(wanted, w => w.StartsWith("secret ", StringComparison.Ordinal));
        string[] direct = [.. verdict.Findings.Where(f => f.Inner is { } inner && paths.TryGetValue(Path.GetFileName(inner.Inside[^1]), out string? path)
                && Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path))) == inner.Sha256)
            .Select(f => YaraProgram.Line(f.Detection, paths[Path.GetFileName(f.Inner!.Inside[^1])])).Distinct().Order(StringComparer.Ordinal)];
        Assert.Equal(wanted.Distinct().Order(StringComparer.Ordinal), direct);
    }

    [Theory]
    [InlineData("genisoimage -quiet -o ../a.img .")]
    [InlineData("genisoimage -quiet -J -R -o ../a.img .")]
    [InlineData("genisoimage -quiet -udf -o ../a.img .")]
    [InlineData("xorriso -as mkisofs -quiet -R -J -o ../a.img . 2>/dev/null")]
    [Trait("Category", "Slow")]
    public void Files_of_a_disc_image_inside_of_an_archive_are_those_that_7z_gives(string make)
    {
        Tool.Shell("mkdir -p in/sub; cp /usr/bin/env in/program; seq 1 60000 > in/text.txt; cp in/text.txt in/sub/again.txt; echo x > in/sub/small", _scratch.Folder);
        Tool.Shell(make, _scratch["in"]);
        Tool.Shell("7z x -y -oout a.img >/dev/null; zip -q a.zip a.img", _scratch.Folder);
        string[] theirs = [.. Directory.EnumerateFiles(_scratch["out"], "*", SearchOption.AllDirectories)
            .Where(f => new FileInfo(f).Length > 0 && !f.Contains("[BOOT]", StringComparison.Ordinal)).Select(Golden.Content.Sha256OfFile).Order(StringComparer.Ordinal)];
        Assert.InRange(theirs.Length, 4, 5);
        using YaraRules rules = Compile("rule every { condition: filesize > 0 }");
        Verdict verdict = Match(File.ReadAllBytes(_scratch["a.zip"]), rules);
        Assert.Empty(verdict.Gaps);
        Assert.Equal(theirs, verdict.Findings.Where(f => f.Inner is { Inside: ["a.img", _, ..] }).Select(f => f.Inner!.Sha256).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Equal_members_are_matched_once_and_found_everywhere()
    {
        Tool.Shell("mkdir a; echo MARKER > a/x; echo MARKER > a/y; zip -q -r inner.zip a; cp inner.zip again.zip; zip -q outer.zip inner.zip again.zip a/x", _scratch.Folder);
        using YaraRules rules = Compile("rule marker { strings: $a = \"MARKER\" condition: $a at 0 }");
        byte[] archive = File.ReadAllBytes(_scratch["outer.zip"]);
        using var archives = new ArchiveContents(new ArchiveLimits(), 16 << 20, long.MaxValue, () => { });
        using var engines = new Pipeline.Engines { ByContent = [rules], Archives = archives };
        using var matcher = new ContentMatcher(engines, CancellationToken.None);
        string[] first = Ways(matcher.Match(archive));
        Assert.Equal(["a/x", "again.zip > a/x", "again.zip > a/y", "inner.zip > a/x", "inner.zip > a/y"], first);
        Assert.Equal(first, Ways(matcher.Match(archive)));

        // What is known counts for budgets as if it had been opened.
        using var fewer = new ArchiveContents(new ArchiveLimits { Members = 5 }, 16 << 20, long.MaxValue, () => { });
        using var strict = new ContentMatcher(engines with { Archives = fewer }, CancellationToken.None);
        Verdict cut = strict.Match(archive);
        Assert.Equal(cut.Gaps.Select(g => g.Structure), strict.Match(archive).Gaps.Select(g => g.Structure));
        Assert.Equal("archive members", Assert.Single(cut.Gaps).Structure);
        Assert.Equal(Ways(cut), Ways(strict.Match(archive)));

        static string[] Ways(Verdict verdict) => [.. verdict.Findings.Where(f => f.Inner is not null).Select(f => string.Join(" > ", f.Inner!.Inside)).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public void Members_are_looked_up_in_hash_lists_and_rules_see_their_names()
    {
        Tool.Shell("mkdir d; echo known > d/known.bin; echo named > d/invoice.pdf.exe; tar -czf a.tgz d", _scratch.Folder);
        string hash = Golden.Content.Sha256OfFile(_scratch["d/known.bin"]);
        HashSets list = Compiled(HashSetKind.Bad, hash + ",Evil.A");
        using YaraRules rules = Compile("rule twice { condition: filename matches /\\.pdf\\.exe$/ and filepath contains \"v1/a.tgz/(gzip)/d/\" and extension == \".exe\" }");
        using var archives = new ArchiveContents(new ArchiveLimits(), 16 << 20, long.MaxValue, () => { });
        using var engines = new Pipeline.Engines { ByContent = [rules], Hashes = list, Archives = archives };
        using var matcher = new ContentMatcher(engines, CancellationToken.None);
        var item = new AreaContent("v1/a.tgz", MemorySource.Empty) { Coverage = new Coverage("v1"), SizeBytes = 0 };
        Verdict verdict = matcher.Match(File.ReadAllBytes(_scratch["a.tgz"]), item);
        Assert.Equal(
            ["Evil.A (gzip) > d/known.bin " + hash, "twice (gzip) > d/invoice.pdf.exe " + Golden.Content.Sha256OfFile(_scratch["d/invoice.pdf.exe"])],
            verdict.Findings.Select(f => $"{f.Detection.Rule} {string.Join(" > ", f.Inner!.Inside)} {f.Inner.Sha256}").Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Known_good_members_are_not_matched_and_hash_lists_outrank_them()
    {
        Tool.Shell("echo MARKER good > good; echo MARKER other > other; zip -q in.zip good; zip -q a.zip in.zip good other", _scratch.Folder);
        string hash = Golden.Content.Sha256OfFile(_scratch["good"]);
        HashSets good = Compiled(HashSetKind.KnownGood, hash);
        HashSets bad = Compiled(HashSetKind.Bad, hash + ",Evil.A");
        using YaraRules rules = Compile("rule marker { strings: $a = \"MARKER\" condition: $a at 0 }");
        byte[] archive = File.ReadAllBytes(_scratch["a.zip"]);
        using var archives = new ArchiveContents(new ArchiveLimits(), 16 << 20, long.MaxValue, () => { });
        using var engines = new Pipeline.Engines { ByContent = [rules], KnownGood = good, Archives = archives };
        Assert.Equal(["marker other"], Said(engines));
        Assert.Equal(["Evil.A good", "Evil.A in.zip > good", "marker other"], Said(engines with { ByContent = [rules], Hashes = bad }));
        Assert.Equal(["marker good", "marker in.zip > good", "marker other"], Said(engines with { ByContent = [rules], KnownGood = null }));

        string[] Said(Pipeline.Engines with)
        {
            using var matcher = new ContentMatcher(with, CancellationToken.None);
            Verdict verdict = matcher.Match(archive);
            Assert.True(verdict is { HangsOnHashLists: true, IsSettled: true });
            return [.. verdict.Findings.Select(f => $"{f.Detection.Rule} {string.Join(" > ", f.Inner!.Inside)}").Order(StringComparer.Ordinal)];
        }
    }

    [Fact]
    public void Verdicts_of_contents_that_were_left_unopened_are_not_kept()
    {
        Tool.Shell("seq 1 10 > a; zip -q a.zip a", _scratch.Folder);
        using YaraRules rules = Compile("rule nothing { condition: false }");
        using var archives = new ArchiveContents(null, 16 << 20, long.MaxValue, () => { });
        using var engines = new Pipeline.Engines { ByContent = [rules], Archives = archives };
        using var matcher = new ContentMatcher(engines, CancellationToken.None);
        Assert.False(matcher.Match(File.ReadAllBytes(_scratch["a.zip"])).IsSettled);
        Assert.True(matcher.Match(File.ReadAllBytes(_scratch["a"])).IsSettled);
        Assert.Equal(1, archives.Unopened);
    }

    [Fact]
    public void A_scan_has_a_budget_over_all_contents_and_windows_are_not_opened()
    {
        Tool.Shell("seq 1 100000 > a; zip -q a.zip a", _scratch.Folder);
        byte[] archive = File.ReadAllBytes(_scratch["a.zip"]);
        using YaraRules rules = Compile("rule nothing { condition: false }");
        using var archives = new ArchiveContents(new ArchiveLimits(), 16 << 20, 600_000, () => { });
        using var engines = new Pipeline.Engines { ByContent = [rules], Archives = archives };
        using var matcher = new ContentMatcher(engines, CancellationToken.None);
        Assert.Empty(matcher.Match(archive).Gaps);
        Assert.Empty(matcher.Match(archive).Gaps);
        Verdict over = matcher.Match(archive);
        Assert.Equal((Fault.Limit, false), (Assert.Single(over.Gaps).Fault, over.IsSettled));
        Assert.Empty(matcher.MatchWindow(archive).Gaps);
    }

    [Fact]
    public void An_archive_that_unpacks_to_itself_is_matched_once_and_nothing_is_left_out()
    {
        byte[] quine = GzipQuine.Make();
        using YaraRules rules = Compile("rule gzip { condition: uint16(0) == 0x8B1F }");
        Verdict verdict = Match(quine, rules);
        Assert.True(Assert.Single(verdict.Findings) is { Inner: null } && verdict.IsSettled);
        Assert.Empty(verdict.Gaps);

        // In another archive, beside what is to be found, whatever the order.
        foreach (string order in (string[])["q.gz x", "x q.gz"])
        {
            File.WriteAllBytes(_scratch["q.gz"], quine);
            File.WriteAllText(_scratch["x"], "MARKER");
            Tool.Shell($"rm -f a.zip; zip -q a.zip {order}", _scratch.Folder);
            using YaraRules both = Compile("rule gzip { condition: uint16(0) == 0x8B1F } rule marker { strings: $a = \"MARKER\" condition: $a at 0 }");
            Verdict outer = Match(File.ReadAllBytes(_scratch["a.zip"]), both);
            Assert.Equal(["gzip q.gz", "marker x"], outer.Findings.Select(f => $"{f.Detection.Rule} {string.Join(" > ", f.Inner!.Inside)}").Order(StringComparer.Ordinal));
            Assert.Empty(outer.Gaps);
        }
    }

    private HashSets Compiled(HashSetKind kind, string line)
    {
        File.WriteAllText(_scratch["list.txt"], line + "\n");
        using var builder = new HashSetBuilder(kind);
        builder.AddFile(_scratch["list.txt"]);
        builder.Build(_scratch[$"{kind}.set"]);
        return HashSets.Open([_scratch[$"{kind}.set"]], kind);
    }

    /// <summary>The same is found whether members are hashed, to know them again, or not.</summary>
    private static Verdict Match(byte[] content, YaraRules rules)
    {
        using var archives = new ArchiveContents(new ArchiveLimits(), 64 << 20, long.MaxValue, () => { });
        using var others = new ArchiveContents(new ArchiveLimits(), 64 << 20, long.MaxValue, () => { });
        using var engines = new Pipeline.Engines { ByContent = [rules], Archives = archives };
        using var matcher = new ContentMatcher(engines, CancellationToken.None);
        using var forgetful = new ContentMatcher(engines with { Archives = others, KnowsMembers = false }, CancellationToken.None);
        Verdict verdict = matcher.Match(content);
        Verdict again = forgetful.Match(content);
        Assert.Equal(verdict.Findings.Select(Said), again.Findings.Select(Said));
        Assert.Equal(verdict.Gaps.Select(g => g.ToString()), again.Gaps.Select(g => g.ToString()));
        Assert.Equal((verdict.IsSettled, verdict.HangsOnHashLists), (again.IsSettled, again.HangsOnHashLists));
        return verdict;

        static string Said(VerdictFinding f) =>
            $"{f.Detection.Rule} {string.Join(' ', f.Detection.Matches)} {f.Inner?.Sha256} {f.Inner?.SizeBytes} {string.Join(" > ", f.Inner?.Inside ?? [])}";
    }

    private static YaraRules Compile(string text)
    {
        List<RuleFault> faults = [];
        YaraRules rules = YaraRules.Compile([new RuleFile("rules.yar", "rules", null, Encoding.UTF8.GetBytes(text))], new YaraOptions { MostMatches = int.MaxValue }, faults);
        Assert.DoesNotContain(faults, f => !f.IsWarning);
        return rules;
    }
}
