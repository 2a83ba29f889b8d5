using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

public sealed class RuleFaultTests
{
    [Fact]
    public void A_broken_rule_is_named_with_file_and_line_and_only_it_and_what_refers_to_it_is_left_out()
    {
        List<RuleFault> faults = [];
        using YaraRules rules = YaraProgram.Compile("""
            rule first { condition: true }
            rule broken
            {
                strings:
                    $a = "x"
                condition:
                    $a and $missing
            }
            rule leaning { condition: broken or true }
            rule leaning_more { condition: leaning }
            rule hex { strings: $a = { 4G 4H } condition: $a }
            rule last { strings: $a = "needle" condition: $a }
            """, faults);
        // libyara names the line of the token behind what it refuses, as the yara program prints it.
        Assert.Equal([(8, "broken"), (9, "leaning"), (10, "leaning_more"), (11, "hex")], faults.Where(f => !f.IsWarning).OrderBy(f => f.Line).Select(f => (f.Line, f.Rule)));
        Assert.Contains("$missing", faults.Find(f => f is { Rule: "broken", IsWarning: false })!.Message, StringComparison.Ordinal);
        Assert.All(faults, f => Assert.Equal("rules.yar", f.File));
        Assert.Equal(["first", "last"], YaraProgram.Names(rules, "a needle"u8));
        Assert.Equal(2, rules.Facts.Rules);
    }

    [Theory]
    [InlineData("rule a { condition: true", "does it end")]
    [InlineData("rule a { strings: $a = \"open\n condition: $a }", "open text")]
    [InlineData("rule a { strings: $a = /open\n condition: $a }", "open regex")]
    [InlineData("rule a { strings: $a = { 00 11 condition: $a }", "open hex")]
    [InlineData("garbage everywhere ;;", "no rule")]
    [InlineData("rule { condition: true }", "no name")]
    [InlineData("rule a { condition: nosuch.module == 1 }", "unknown module")]
    [InlineData("import \"nosuch\"", "unknown import")]
    [InlineData("rule a { meta: x = 1 }", "no condition")]
    [InlineData("rule good { condition: false }", "twice the same name")]
    [InlineData("rule any { condition: true }", "a keyword as a name")]
    [InlineData("rule a { strings: $a = \"unused\" condition: true }", "unused string")]
    [InlineData("rule a { condition: ((((((true }", "open parentheses")]
    public void What_is_wrong_before_and_after_a_good_rule_does_not_harm_it(string wrong, string _)
    {
        foreach (string text in new[] { "rule good { condition: filesize > 0 }\n" + wrong, wrong.Replace("good", "a", StringComparison.Ordinal) + "\nrule good { condition: filesize > 0 }\nrule other { condition: true }\n" })
        {
            List<RuleFault> faults = [];
            using YaraRules rules = YaraProgram.Compile(text, faults);
            Assert.Contains("good", YaraProgram.Names(rules, "x"u8));
            if (!text.Contains("a { condition: false", StringComparison.Ordinal))
            {
                Assert.Contains(faults, f => !f.IsWarning);
            }
        }
    }

    [Fact]
    public void An_include_stays_inside_the_folder_of_the_rules()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["rules/sub"]);
        File.WriteAllText(scratch["outside.yar"], "rule outside { condition: true }");
        File.WriteAllText(scratch["rules/sub/inner.inc"], "rule inner { condition: true }");
        File.CreateSymbolicLink(scratch["rules/link.inc"], scratch["outside.yar"]);
        File.WriteAllText(scratch["rules/a.yar"], "include \"sub/inner.inc\"\ninclude \"../outside.yar\"\ninclude \"/etc/passwd\"\ninclude \"link.inc\"\ninclude \"a.yar\"\ninclude \"none.inc\"\nrule mine { condition: inner }\n");
        List<RuleFault> faults = [];
        using YaraRules rules = YaraRules.Compile(RuleSources.Read([scratch["rules"]], faults), new YaraOptions(), faults, TestContext.Current.CancellationToken);
        Assert.Equal(["inner", "mine"], YaraProgram.Names(rules, "x"u8));
        Assert.Equal([2, 3, 4, 5, 6], faults.Select(f => f.Line));
    }

    [Fact]
    public void Files_of_a_folder_are_namespaces_and_may_use_the_same_names()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["rules/deep"]);
        File.WriteAllText(scratch["rules/b.yar"], "rule same { condition: true }");
        File.WriteAllText(scratch["rules/deep/a.YARA"], "rule same { condition: true }");
        File.WriteAllText(scratch["rules/readme.txt"], "not a rule");
        List<RuleFault> faults = [];
        using YaraRules rules = YaraRules.Compile(RuleSources.Read([scratch["rules"], scratch["rules/b.yar"]], faults), new YaraOptions(), faults, TestContext.Current.CancellationToken);
        Assert.Empty(faults);
        using var matcher = rules.CreateMatcher();
        List<Matching.Detection> found = [];
        matcher.Match("x"u8, default, found, CancellationToken.None);
        Assert.Equal(["b", "deep/a", "b#2"], found.Select(f => f.Namespace));
    }

    [Fact]
    public void A_missing_path_and_an_empty_folder_are_faults()
    {
        using var scratch = new Scratch();
        List<RuleFault> faults = [];
        Assert.Empty(RuleSources.Read([scratch["none"], scratch.Folder], faults));
        Assert.Equal(2, faults.Count);
    }

    [Fact]
    public void Random_bytes_as_rules_are_reported_and_nothing_else()
    {
        byte[] sound = Encoding.UTF8.GetBytes("""
            import "pe"
            private rule p { strings: $h = { 01 02 ?? ( 03 | 04 ) [1-4] 05 06 07 08 } condition: $h }
            rule q : t { meta: a = "b" strings: $a = "text" wide nocase $b = /ab+(c|d)[e-f]{2,3}/i condition: (any of them and filesize < 3KB) or for any i in (1..#a) : (@a[i] > 3) or p }
            rule r { strings: $x = "other" xor condition: all of ($x*) and uint16(0) == 0x5A4D and pe.is_pe }
            """);
        for (int seed = 0; seed < 1500; seed++)
        {
            var random = new Random(seed);
            byte[] text = (byte[])sound.Clone();
            if (seed % 10 == 0)
            {
                random.NextBytes(text);
            }

            for (int i = random.Next(6); i >= 0; i--)
            {
                int at = random.Next(text.Length - 12);
                switch (random.Next(4))
                {
                    case 0:
                        text[at] = (byte)random.Next(256);
                        break;
                    case 1:
                        text[at] = (byte)"{}()[]\"/\\$#@*|.,:=<>"[random.Next(20)];
                        break;
                    case 2:
                        sound.AsSpan(random.Next(sound.Length - 12), 12).CopyTo(text.AsSpan(at));
                        break;
                    default:
                        text = text[..(at + 1)].Concat(text[Math.Min(text.Length, at + random.Next(12))..]).ToArray();
                        break;
                }

                if (text.Length < 20)
                {
                    text = (byte[])sound.Clone();
                }
            }

            List<RuleFault> faults = [];
            using YaraRules rules = YaraRules.Compile([new RuleFile("r.yar", "r", null, text)], new YaraOptions(), faults, TestContext.Current.CancellationToken);
            YaraProgram.Names(rules, "MZ text other"u8);
        }
    }
}
