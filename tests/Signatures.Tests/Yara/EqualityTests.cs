using Vmsweep.Golden;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>Rules and string offsets equal those of the <c>yara</c> program, with routing and without.</summary>
public sealed class EqualityTests
{
    private const string EveryFeature = """
        import "pe"
        import "elf"
        import "hash"
        import "math"
        import "dotnet"
        private rule is_pe { condition: uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 }
        private rule has_secret { strings: $ = "secret passphrase" condition: any of them }
        rule text { strings: $a = "secret passphrase" condition: $a }
        rule text_nocase { strings: $a = "SECRET passphrase" nocase condition: #a > 3 }
        rule text_wide { strings: $a = "secret" wide condition: $a }
        rule text_both { strings: $a = "secret" wide ascii condition: $a }
        rule text_fullword { strings: $a = "ecret" fullword condition: $a }
        rule text_xor { strings: $a = "This is the secret" xor condition: $a }
        rule text_xor_range { strings: $a = "This is the secret" xor(0x50-0x60) condition: $a }
        rule text_base64 { strings: $a = "This is the secret" base64 condition: $a }
        rule text_base64wide { strings: $a = "secret passphrase" base64wide condition: $a }
        rule text_escapes { strings: $a = "\nSECRET\x20PASS" condition: $a }
        rule text_private { strings: $a = "secret" private $b = "nobody" condition: $a and $b }
        rule short { strings: $a = "MZ" $b = "x" condition: $a at 0 or $b at 0 }
        rule hex_jump { strings: $a = { DE AD [2-4] BE EF CA FE ?? BA BE } condition: $a }
        rule hex_far { strings: $a = { DE AD 11 22 33 [200-400] F0 0D F0 0D } condition: $a }
        rule hex_open { strings: $a = { DE AD 11 22 33 [-] F0 0D F0 0D } condition: $a }
        rule hex_alternatives { strings: $a = { DE AD ( 11 22 33 | 44 ) BE ( EF | ?0 ) CA FE } condition: $a }
        rule hex_nibbles { strings: $a = { D? ?D 11 22 33 BE } condition: $a }
        rule regex { strings: $a = /https?:\/\/[0-9]{1,3}(\.[0-9]{1,3}){3}\/[a-z.]+/ condition: $a }
        rule regex_either { strings: $a = /(eval|assert)\s*\(\s*\$_(POST|GET)/ condition: $a }
        rule regex_nocase { strings: $a = /secret\s+PASS[a-z]*/i condition: $a }
        rule regex_wide { strings: $a = /secret pass.{3,6}/ wide condition: $a }
        rule regex_start { strings: $a = /^#!\/bin\/(sh|bash)/ condition: $a at 0 }
        rule counts { strings: $a = "secret" condition: #a == 2 }
        rule count_in { strings: $a = "secret" condition: #a in (0..6000) == 1 }
        rule offset { strings: $a = "secret passphrase" condition: @a == 5012 }
        rule offset_second { strings: $a = "secret passphrase" condition: @a[2] > @a[1] + 100 }
        rule length { strings: $a = /secret pass[a-z]+/ condition: !a[1] == 17 }
        rule at_offset { strings: $a = "<?php" condition: $a at 0 }
        rule in_range { strings: $a = "nobody" condition: $a in (5000..6000) }
        rule for_of { strings: $a1 = "secret" $a2 = "nobody" $b = "nowhere to be found" condition: for 2 of ($a*, $b) : ( @ > 100 ) }
        rule for_of_not { strings: $a = "nowhere to be found" $b = "neither here" condition: for all of them : ( not $ ) and filesize < 100 }
        rule for_range { strings: $a = "secret" condition: for any i in (1..#a) : ( @a[i] > 5050 ) }
        rule for_set { condition: for all i in (0, 1) : ( uint8(i) == 0x4D or uint8(i) == 0x5A ) }
        rule of_percent { strings: $a = "secret" $b = "nobody" $c = "nowhere to be found" condition: 60% of them }
        rule of_none { strings: $a = "secret" $b = "nobody" condition: none of them and filesize < 50 }
        rule of_zero { strings: $a = "secret" condition: 0 of them and filesize < 50 }
        rule of_rules { condition: any of (text*) }
        rule negation { strings: $a = "MZ" condition: not $a at 0 and filesize == 70000 }
        rule size_exact { condition: filesize == 70000 }
        rule size_zero { condition: filesize == 0 }
        rule size_between { condition: filesize > 4KB and filesize < 6KB }
        rule magic_pe { condition: uint16(0) == 0x5A4D }
        rule magic_pe_be { condition: uint16be(0) == 0x4D5A and filesize > 100 }
        rule magic_elf { condition: uint32(0) == 0x464c457f }
        rule magic_reversed { condition: 0x464c457f == uint32(0) }
        rule magic_either { condition: uint16(0) == 0x8B1F or uint32be(0) == 0x504B0304 }
        rule magic_far { condition: uint16(uint32(0x3C)) == 0x4550 }
        rule magic_not { condition: uint16(0) != 0x5A4D and filesize < 20 }
        rule arithmetic { condition: (uint8(0) & 0xF0) == 0x60 and (filesize \ 100) * 100 == 3000 }
        rule referring { condition: has_secret and text }
        rule referring_pe { strings: $a = "System" condition: is_pe and $a }
        rule pe_module { condition: pe.number_of_sections >= 2 and pe.is_pe }
        rule pe_imports { condition: pe.imports("mscoree.dll", "_CorDllMain") }
        rule pe_section { condition: for any s in pe.sections : ( s.name == ".text" and s.raw_data_size > 1024 ) }
        rule pe_version { condition: pe.version_info["CompanyName"] contains "o" }
        rule elf_module { condition: elf.type == elf.ET_DYN and elf.machine == elf.EM_X86_64 }
        rule elf_section { condition: for any i in (0..elf.number_of_sections - 1) : ( elf.sections[i].name == ".text" ) }
        rule dotnet_module { condition: dotnet.number_of_streams > 3 }
        rule hash_md5 { condition: hash.md5(0, filesize) == "9dd4e461268c8034f5c8564e155c67a6" }
        rule hash_zeros { condition: hash.sha256(0, 10) == "01d448afd928065458cf670b60f5a594d735af0172c8d67f22a81680132681ca" }
        rule entropy { condition: math.entropy(0, filesize) > 7.0 }
        rule external { condition: filename matches /\.dll$/i and extension == ".dll" and filepath contains "C:" and filetype == "EXE" and owner == "" }
        rule external_or { strings: $a = "secret" condition: $a or filename == "nothing" }
        rule undefined_defined { condition: not defined uint32(0) }
        rule empty_true { condition: true }
        rule tagged : one two { meta: severity = "high" count = 3 good = false strings: $a = "secret" condition: $a }
        """;

    [Fact]
    public void Every_feature_of_the_language_matches_as_the_yara_program_does()
    {
        using var scratch = new Scratch();
        List<string> files = SampleFiles.Make(scratch["files"]);
        File.WriteAllText(scratch["rules.yar"], EveryFeature);
        string[] externals = ["-d", "filename=a.dll", "-d", "filepath=C:\\x", "-d", "extension=.dll", "-d", "filetype=EXE", "-d", "owner="];
        List<string> expected = YaraProgram.Matches(scratch["rules.yar"], files, externals);
        Assert.True(expected.Select(e => e.Split(' ')[0]).Distinct().Count() > 55, string.Join('\n', expected.Select(e => e.Split(' ')[0]).Distinct()));
        foreach (bool routing in new[] { true, false })
        {
            using YaraRules rules = YaraProgram.Compile(EveryFeature, routing);
            Assert.Equal(expected, YaraProgram.OurMatches(rules, files, new("a.dll", "C:\\x", ".dll", "EXE", "")));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Hundreds_of_rules_made_from_the_files_match_as_the_yara_program_does(int seed)
    {
        using var scratch = new Scratch();
        List<string> files = SampleFiles.Make(scratch["files"]);
        string text = new RuleWriter(seed, files.ConvertAll(File.ReadAllBytes)).Write(400);
        File.WriteAllText(scratch["rules.yar"], text);
        List<string> expected = YaraProgram.Matches(scratch["rules.yar"], files);
        Assert.True(expected.Count > 200);
        using YaraRules rules = YaraProgram.Compile(text);
        Assert.Equal(expected, YaraProgram.OurMatches(rules, files));
    }

    [Fact]
    public void A_global_rule_that_does_not_hold_silences_its_own_namespace_only()
    {
        using var scratch = new Scratch();
        List<string> files = SampleFiles.Make(scratch["files"]);
        string first = "global rule only_small { condition: filesize < 10000 }\nglobal private rule not_zero { condition: filesize > 0 }\nrule any_a { strings: $a = \"secret\" condition: $a }\nrule any_size { condition: true }\n";
        string second = "rule any_b { strings: $a = \"secret\" condition: $a }\nrule any_else { condition: true }\n";
        File.WriteAllText(scratch["a.yar"], first);
        File.WriteAllText(scratch["b.yar"], second);
        List<string> expected = [.. YaraProgram.Matches(scratch["a.yar"], files).Concat(YaraProgram.Matches(scratch["b.yar"], files)).Order(StringComparer.Ordinal)];
        List<RuleFault> faults = [];
        using YaraRules rules = YaraRules.Compile(
            RuleSources.Read([scratch["a.yar"], scratch["b.yar"]], faults), YaraProgram.Options(), faults, TestContext.Current.CancellationToken);
        Assert.Empty(faults);
        Assert.Equal(expected, YaraProgram.OurMatches(rules, files));
    }

    [Fact]
    public void The_entry_point_of_one_content_is_not_that_of_the_next()
    {
        using YaraRules rules = YaraProgram.Compile("rule e { condition: entrypoint >= 0 }");
        using var matcher = rules.CreateMatcher();
        byte[] program = File.ReadAllBytes("/usr/bin/ls");
        foreach ((byte[] content, int expected) in new[] { (program, 1), ("text"u8.ToArray(), 0), (program, 1), ([], 0) })
        {
            List<Matching.Detection> found = [];
            matcher.Match(content, default, found, CancellationToken.None);
            Assert.Equal(expected, found.Count);
        }
    }

    [Fact]
    public void Public_rules_match_as_the_yara_program_does()
    {
        string corpus = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") ?? Path.Combine(RepositoryRoot(), "../shared/corpus");
        Assert.SkipUnless(Directory.Exists(Path.Combine(corpus, "yara")), $"no rules below {corpus}: set VMSWEEP_CORPUS");
        using var scratch = new Scratch();
        List<string> files = SampleFiles.Make(scratch["files"]);
        List<RuleFault> faults = [];
        using YaraRules rules = YaraRules.Compile(
            RuleSources.Read([Path.Combine(corpus, "yara")], faults), YaraProgram.Options(), faults, TestContext.Current.CancellationToken);
        Assert.DoesNotContain(faults, f => !f.IsWarning);
        Assert.Equal(1204, rules.Facts.Rules);
        File.WriteAllText(scratch["all.yar"], string.Concat(Directory.EnumerateFiles(Path.Combine(corpus, "yara"), "*.yara", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal).Select((f, i) => $"include \"{Path.GetFullPath(f)}\"\n")));
        Assert.Equal(YaraProgram.Matches(scratch["all.yar"], files), YaraProgram.OurMatches(rules, files));
    }

    private static string RepositoryRoot()
    {
        string folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "appliance.sln")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("not inside the repository");
        }

        return folder;
    }
}
