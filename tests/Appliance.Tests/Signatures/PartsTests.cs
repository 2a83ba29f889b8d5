using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Tests.Signatures;

/// <summary>What stands in a bundle must be what it says, or the bundle never becomes active.</summary>
public sealed class PartsTests : IDisposable
{
    private readonly PublisherKit _kit = new();

    public void Dispose() => _kit.Dispose();

    private string Refused(string text, PartsChecker? checker = null)
    {
        string bundle = _kit.Bundle(7, counted: p => p with { Count = 1 });
        BundleException e = Assert.Throws<BundleException>(() => _kit.Store.Install(bundle, new InstallOptions(), (checker ?? _kit.Checker).Check));
        Assert.Contains(text, e.Message, StringComparison.Ordinal);
        Assert.Null(_kit.Store.ActiveId);
        return e.Message;
    }

    [Theory]
    [InlineData("rule good { condition: true }\nrule bad { strings: $a = \"x\" condition: $b }", "rules/a.yar:2: rule bad")]
    [InlineData("// no such\nimport \"nosuch\"\nrule good { condition: true }", "rules/a.yar:2: unknown module \"nosuch\"")]
    [InlineData("rule good { condition: true }\ninclude \"../hashes/h.txt\"\n", "rules/a.yar:2: include \"../hashes/h.txt\": an include leaves the folder")]
    [InlineData("\ninclude \"/etc/passwd\"\nrule good { condition: true }", "rules/a.yar:2: include \"/etc/passwd\": an include leaves the folder")]
    [InlineData("rule a { strings: $a = /a{1,40000}/ condition: $a }", "rules/a.yar:1: rule a")]
    [InlineData("not a rule at all", "rules/a.yar:")]
    public void Rules_that_do_not_compile_are_refused_with_file_and_line(string rule, string text)
    {
        _kit.Rule(rule);
        _kit.Rule(new string('a', 64), "hashes/h.txt");
        Refused(text);
    }

    [Fact]
    public void A_wrong_line_of_a_list_is_refused_with_its_number()
    {
        _kit.Rule("rule good { condition: true }");
        _kit.Rule($"# comment\n{new string('a', 64)}\nabcd\n", "hashes/h.txt");
        Refused("hashes/h.txt:3: 4 hexadecimal digits");
        _kit.Rule("", "hashes/h.txt");
        _kit.Rule($"\"SHA-1\",\"FileName\"\n\"{new string('a', 40)}\",\"a.dll\"\n\"{new string('b', 39)}\",\"b.dll\"\n", "known-good/NSRLFile.txt");
        Refused("known-good/NSRLFile.txt:3: ");
        _kit.Rule(new string('a', 32), "known-good/NSRLFile.txt");
        Refused("known-good/NSRLFile.txt:1: an MD5 cannot vouch for a file");
        _kit.Rule("", "known-good/NSRLFile.txt");
        _kit.Rule("{ \"schema\": \"vmsweep.allow/1\", \"entries\": [\n{ \"rule\": \"x\", \"who\": \"a\", \"until\": \"2030-01-01\" } ] }", "allow/l.json");
        Refused("allow/l.json:2: allow entry: without \"why\"");
    }

    [Fact]
    public void Counts_that_lie_are_refused()
    {
        _kit.Rule("rule one { condition: true }\nrule two { condition: true }");
        Refused("part rules/a.yar: the manifest counts 1, but 2 stand in it");
        _kit.Rule("rule one { condition: true }");
        _kit.Rule($"{new string('a', 64)}\n{new string('b', 64)}\n", "hashes/h.txt");
        Refused("part hashes/h.txt: the manifest counts 1, but 2 stand in it");
    }

    [Fact]
    public void Each_kind_is_counted_in_its_own_unit()
    {
        _kit.Rule("include \"common.inc\"\nrule one { condition: helper }");
        _kit.Rule("private rule helper { condition: true }", "rules/common.inc");
        _kit.Rule($"# of today\n{new string('a', 64)},Bad\n\n{new string('b', 40)}\n", "hashes/h.csv");
        _kit.Rule($"{new string('c', 64)}\n", "known-good/g.txt");
        _kit.Rule("Test.Sig:0:*:414243\n", "clamav/x.ndb");
        _kit.Rule("{ \"schema\": \"vmsweep.allow/1\", \"entries\": [ { \"rule\": \"x\", \"who\": \"a\", \"why\": \"b\", \"until\": \"2020-01-01\" } ] }", "allow/l.json");
        BundleManifest manifest = _kit.Install(_kit.Bundle(1)).Manifest;
        Assert.Equal([2, 2, 1, 1, 1], Enum.GetValues<PartKind>().Select(k => (int)manifest.Count(k)));
    }

    /// <summary>In a real worker: its limits are what ends it.</summary>
    [Fact]
    [Trait("Category", "Slow")]
    public void Endless_regular_expressions_and_rules_without_end_cost_the_bundle_and_nothing_else()
    {
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        var checker = new PartsChecker(sandbox, new WorkerProcess(sandbox.WorkerStart, ScanRun.Silence), TestContext.Current.CancellationToken);
        foreach (string expression in (string[])["((((((a{1,999}){1,999}){1,999}){1,999}){1,999}){1,999})", new string('(', 20_000) + "a" + new string(')', 20_000)])
        {
            _kit.Rule($"rule endless {{ strings: $a = /{expression}/ condition: $a }}");
            Refused("rules/a.yar:1: rule endless", checker);
        }

        _kit.Rule("rule deep { condition: " + new string('(', 200_000) + "true" + new string(')', 200_000) + " }");
        Refused("", checker);

        // The yara program takes this one with a warning, and so is it taken here: its cost is what "signatures test" and the time for one content are for.
        _kit.Rule("rule slow { strings: $a = /((a|b){0,1000}(c|d){0,1000}){0,1000}/ condition: $a }");
        string bundle = _kit.Bundle(1, counted: p => p with { Count = 1 });
        Assert.Equal(InstallOutcome.Activated, _kit.Store.Install(bundle, new InstallOptions(), checker.Check).Outcome);
    }
}
