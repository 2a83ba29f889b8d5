using System.Text;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>A rule's id changes with whatever its matches follow from, and with nothing else.</summary>
public sealed class RuleIdentityTests
{
    private const string Text = """
        import "pe"
        private rule p { strings: $a = "pp" condition: $a }
        rule q { strings: $a = "qq" condition: $a and p }
        rule r { strings: $a = "rr" condition: $a }
        rule w { condition: any of (q*) }
        rule m { condition: pe.is_pe and filesize > 10 }
        rule n { condition: filename == "x" }
        rule o { condition: r and n }
        """;

    [Fact]
    public void A_rule_depends_on_itself_and_on_what_it_refers_to()
    {
        Dictionary<string, RuleIdentity> before = Rules(Text);
        Assert.Equal(["p", "q", "r", "w", "m", "n", "o"], before.Keys);
        Assert.Equal(["n", "o"], before.Values.Where(r => r.IsVolatile).Select(r => r.Name));
        Assert.Equal("p", Assert.Single(before.Values, r => r.IsPrivate).Name);
        Assert.Equal(before.Count, before.Values.Select(r => r.Id).Distinct().Count());
        Assert.Equal(["p", "q", "w"], Changed(Text, Text.Replace("\"pp\"", "\"pP\"", StringComparison.Ordinal)));
        Assert.Equal(["r", "o"], Changed(Text, Text.Replace("\"rr\"", "\"rr\" wide", StringComparison.Ordinal)));
        Assert.Equal(["q", "w"], Changed(Text, Text.Replace("rule q {", "rule q : tag {", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("        import", "import")]
    [InlineData("\n", "\r\n")]
    [InlineData("rule r { strings:", "rule r {   \n\n\t strings:")]
    [InlineData("rule r {", "// a comment\nrule added { condition: false }\nrule r {")]
    public void What_stands_around_a_rule_and_how_its_lines_are_broken_means_nothing(string from, string to) =>
        Assert.Empty(Changed(Text.Replace("rule r { strings:", "rule r { \n strings:", StringComparison.Ordinal), Text.Replace("rule r { strings:", "rule r { \n strings:", StringComparison.Ordinal).Replace(from, to, StringComparison.Ordinal)));

    [Fact]
    public void A_global_rule_is_part_of_every_rule_of_its_namespace_while_it_is_in_use()
    {
        string[] all = ["p", "q", "r", "w", "m", "n", "o"];
        Assert.Equal(all, Changed(Text, Text + "\nglobal rule g { condition: filesize < 100 }"));
        Assert.Equal([.. all, "g"], Changed(Text + "\nglobal rule g { condition: filesize < 100 }", Text + "\nglobal rule g { condition: filesize < 101 }"));
        Assert.All(Rules(Text + "\nglobal private rule g { condition: extension == \".exe\" }").Values, r => Assert.True(r.IsVolatile));
        Assert.Empty(Changed(Text, Text + "\nglobal rule g { condition: $nothing }"));
    }

    [Fact]
    public void The_time_is_no_content() =>
        Assert.True(Rules("import \"time\"\nrule t { condition: time.now() > 0 }")["t"].IsVolatile);

    [Fact]
    public void A_namespace_is_part_of_a_rule()
    {
        List<RuleFault> faults = [];
        byte[] text = Encoding.UTF8.GetBytes("rule r { condition: true }");
        Assert.Equal(2, RuleCompiler.Read([new RuleFile("a", "a", null, text), new RuleFile("b", "b", null, text)], new YaraOptions(), faults).Rules.Select(r => r.Id).Distinct().Count());
    }

    [Fact]
    public void Rules_that_are_compiled_apart_match_what_they_match_together()
    {
        List<RuleFault> faults = [];
        var compiler = RuleCompiler.Read([new RuleFile("rules.yar", "rules", null, Encoding.UTF8.GetBytes(Text))], new YaraOptions(), faults);
        byte[] content = [.. "MZ"u8, .. "pp qq rr"u8, .. new byte[100]];
        using YaraRules all = compiler.Compile(_ => true, TestContext.Current.CancellationToken);
        List<string> apart = [];
        foreach (RuleIdentity rule in compiler.Rules)
        {
            using YaraRules one = compiler.Compile(r => r == rule, TestContext.Current.CancellationToken);
            apart.AddRange(YaraProgram.Names(one, content));
        }

        Assert.Equal(["q", "r", "w"], apart);
        Assert.Equal(apart, YaraProgram.Names(all, content));
    }

    private static IEnumerable<string> Changed(string before, string after)
    {
        Dictionary<string, RuleIdentity> old = Rules(before);
        Dictionary<string, RuleIdentity> present = Rules(after);
        return old.Where(r => present[r.Key].Id != r.Value.Id).Select(r => r.Key);
    }

    /// <summary>After compiling, so that what does not compile is left out.</summary>
    private static Dictionary<string, RuleIdentity> Rules(string text)
    {
        List<RuleFault> faults = [];
        var compiler = RuleCompiler.Read([new RuleFile("rules.yar", "rules", null, Encoding.UTF8.GetBytes(text))], new YaraOptions(), faults);
        compiler.Compile(_ => true, TestContext.Current.CancellationToken).Dispose();
        return compiler.Rules.ToDictionary(r => r.Name);
    }
}
