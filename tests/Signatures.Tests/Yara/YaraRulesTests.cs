using System.Diagnostics;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

public sealed class YaraRulesTests
{
    [Fact]
    public void A_detection_carries_tags_meta_severity_and_offsets()
    {
        using YaraRules rules = YaraProgram.Compile("rule r : a b { meta: severity = \"critical\" n = 7 t = true s = \"x\" strings: $s = \"needle\" condition: $s }");
        Detection d = Assert.Single(Find(rules, "a needle, a needle"u8));
        Assert.Equal(("yara", "r", "rules", Severity.Critical, 0), (d.Engine, d.Rule, d.Namespace, d.Severity, d.MatchesLeftOut));
        Assert.Equal(["a", "b"], d.Tags);
        Assert.Equal(["severity=critical", "n=7", "t=true", "s=x"], d.Meta.Select(m => $"{m.Key}={m.Value}"));
        Assert.Equal([new("$s", 2, 6), new("$s", 12, 6)], d.Matches);
    }

    [Theory]
    [InlineData("score = 90", Severity.High)]
    [InlineData("score = 60", Severity.Medium)]
    [InlineData("score = 10", Severity.Low)]
    [InlineData("severity = \"LOW\"", Severity.Low)]
    [InlineData("severity = 100", Severity.High)]
    [InlineData("severity = \"\\x1B[2J\"", Severity.Medium)]
    [InlineData("author = \"x\"", Severity.Medium)]
    public void Severity_comes_from_meta(string meta, Severity severity)
    {
        using YaraRules rules = YaraProgram.Compile($"rule r {{ meta: {meta} condition: true }}");
        Assert.Equal(severity, Assert.Single(Find(rules, "x"u8)).Severity);
    }

    [Fact]
    public void Many_positions_are_counted_and_only_some_kept()
    {
        List<RuleFault> faults = [];
        using YaraRules rules = YaraRules.Compile(
            [new RuleFile("r", "r", null, "rule r { strings: $a = \"needle\" condition: $a }"u8.ToArray())], new YaraOptions { MostMatches = 10 }, faults, TestContext.Current.CancellationToken);
        Detection d = Assert.Single(Find(rules, Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("needle ", 500)))));
        Assert.Equal((10, 490), (d.Matches.Count, d.MatchesLeftOut));
    }

    [Fact]
    public void Saved_rules_loaded_again_match_the_same()
    {
        using var scratch = new Scratch();
        List<string> files = SampleFiles.Make(scratch["files"]);
        using YaraRules rules = YaraProgram.Compile(new RuleWriter(9, files.ConvertAll(File.ReadAllBytes)).Write(200));
        using var saved = new MemoryStream();
        saved.Write("before"u8);
        rules.Save(saved);
        saved.Write("after"u8);
        using var again = new MemoryStream(saved.ToArray()[6..]);
        using YaraRules loaded = YaraRules.Load(again, YaraProgram.Options());
        Assert.Equal(rules.Facts, loaded.Facts);
        Assert.Equal(rules.UsesNames, loaded.UsesNames);
        Assert.Equal(YaraProgram.OurMatches(rules, files), YaraProgram.OurMatches(loaded, files));
    }

    [Theory]
    [InlineData("")]
    [InlineData("vmsweep rules 1\n")]
    [InlineData("something else entirely, and long enough to be read")]
    public void What_is_no_saved_rules_is_refused(string text) =>
        Assert.Throws<YaraException>(() => YaraRules.Load(new MemoryStream(Encoding.ASCII.GetBytes(text)), new YaraOptions()));

    [Fact]
    public void Names_are_used_only_when_a_rule_asks_for_them()
    {
        using YaraRules without = YaraProgram.Compile("rule r { condition: filetype == \"EXE\" }");
        Assert.False(without.UsesNames);
        Assert.Equal(["r"], YaraProgram.Names(without, "MZ and more"u8));
        using YaraRules with = YaraProgram.Compile("rule r { condition: filename == \"\u00E9.exe\" or owner == \"S-1-5\" }");
        Assert.True(with.UsesNames);
        Assert.Empty(YaraProgram.Names(with, "x"u8));
        Assert.Equal(["r"], YaraProgram.Names(with, "x"u8, new("\u00E9.exe", null, null, null, null)));
        Assert.Equal(["r"], YaraProgram.Names(with, "x"u8, new(null, null, null, null, "S-1-5")));
        Assert.Empty(YaraProgram.Names(with, "x"u8));
    }

    [Fact]
    public void A_content_that_takes_too_long_is_a_fault_and_not_a_hang()
    {
        List<RuleFault> faults = [];
        using YaraRules rules = YaraRules.Compile(
            [new RuleFile("r", "r", null, "rule slow { condition: for all i in (0..filesize) : (for all j in (0..filesize) : (uint8(i) == uint8(j))) }"u8.ToArray())],
            new YaraOptions { Timeout = TimeSpan.FromSeconds(1) }, faults, TestContext.Current.CancellationToken);
        using IMatcher matcher = rules.CreateMatcher();
        long started = Stopwatch.GetTimestamp();
        MatchFault? fault = matcher.Match(new byte[1 << 20], default, [], CancellationToken.None);
        Assert.Equal(MatchFaultKind.Timeout, fault?.Kind);
        Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(20));
    }

    [Fact]
    public void A_string_that_matches_too_often_is_a_fault()
    {
        using YaraRules rules = YaraProgram.Compile("rule r { strings: $a = \"a\" condition: #a > 5 }");
        using IMatcher matcher = rules.CreateMatcher();
        MatchFault? fault = matcher.Match(Enumerable.Repeat((byte)'a', 2_000_000).ToArray(), default, [], CancellationToken.None);
        Assert.Equal(MatchFaultKind.Limit, fault?.Kind);
    }

    [Fact]
    public void A_cancelled_run_stops()
    {
        using YaraRules rules = YaraProgram.Compile("rule r { condition: true }");
        using IMatcher matcher = rules.CreateMatcher();
        Assert.Throws<OperationCanceledException>(() => matcher.Match("x"u8, default, [], new CancellationToken(canceled: true)));
    }

    [Fact]
    public void Many_threads_share_the_rules()
    {
        using YaraRules rules = YaraProgram.Compile("rule r { strings: $a = \"needle\" condition: $a }");
        Parallel.For(0, 8, _ =>
        {
            using IMatcher matcher = rules.CreateMatcher();
            for (int i = 0; i < 300; i++)
            {
                List<Detection> found = [];
                Assert.Null(matcher.Match(i % 2 == 0 ? "a needle"u8 : "nothing"u8, default, found, CancellationToken.None));
                Assert.Equal(i % 2 == 0 ? 1 : 0, found.Count);
            }
        });
    }

    private static List<Detection> Find(YaraRules rules, ReadOnlySpan<byte> content)
    {
        using IMatcher matcher = rules.CreateMatcher();
        List<Detection> found = [];
        Assert.Null(matcher.Match(content, default, found, CancellationToken.None));
        return found;
    }
}
