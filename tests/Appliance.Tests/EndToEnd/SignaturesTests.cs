using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Tests.Signatures;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Bundles and allow lists through the launcher, in the sandbox.</summary>
public sealed class SignaturesTests : IDisposable
{
    private const string Invoice = "v1/Users/anna/Downloads/invoice.pdf.exe";
    private const string Hidden = "v1/Users/anna/readme.txt:hidden";

    private readonly PublisherKit _kit = new();

    public void Dispose() => _kit.Dispose();

    private (int Status, string Output, string Error) Run(params string[] arguments) => Launcher.Run([.. arguments, "--state", _kit.State]);

    private JsonElement Json(int status, params string[] arguments)
    {
        (int ended, string output, string error) = Run([.. arguments, "--format", "json"]);
        Assert.True(ended == status, $"status {ended}: {error}{output}");
        return JsonDocument.Parse(output).RootElement;
    }

    private static string Eicar(string name) => $"rule {name} : testfile {{ strings: $a = \"EICAR-STANDARD-ANTIVIRUS\" condition: $a }}";

    // What the sample is called by is another finding of its own.
    private static string[] Rules(JsonElement report) => [.. report.Findings().Select(f => f.Split(' ')[0]).Where(r => r != "Name_DoubleExtension").Distinct().Order(StringComparer.Ordinal)];

    [Fact]
    public void Own_rules_added_again_and_again_within_a_second_are_versions_one_after_the_other()
    {
        long version = 0;
        for (int i = 0; i < 4; i++)
        {
            long next = Json(0, "signatures", "add", "--unsigned", _kit.Rule(Eicar($"from_{i}"))).GetProperty("active").GetProperty("version").GetInt64();
            Assert.True(next > version, $"{next} after {version}");
            version = next;
        }
    }

    [Fact]
    public void Build_trust_add_scan_verify_update_and_roll_back()
    {
        string folder = _kit.Rule(Eicar("from_one"));
        string one = _kit["one.vmbundle"];
        JsonElement built = Json0("signatures", "build", folder, "--key", _kit["key.pem"], "--out", one, "--name", "acme");
        Tool.Shell($"mkdir un && tar -xf one.vmbundle -C un && openssl pkeyutl -verify -rawin -pubin -inkey acme.pem -in un/manifest.json -sigfile un/manifest.sig", _kit["."]);
        _kit.Store.Trust.Remove("acme");
        (int status, _, string error) = Run("signatures", "add", one);
        Assert.Equal(2, status);
        Assert.Contains("signatures trust add", error, StringComparison.Ordinal);
        Json(0, "signatures", "trust", "add", _kit["acme.pem"]);
        JsonElement added = Json(0, "signatures", "add", one);
        Assert.Equal("activated", added.GetProperty("outcome").GetString());
        string id = added.GetProperty("active").GetProperty("id").GetString()!;
        Assert.Equal(built.GetProperty("bundle").GetProperty("id").GetString(), id);

        JsonElement report = Json(1, "scan", "samples");
        Assert.Equal(["from_one"], Rules(report));
        Assert.Equal(id, Assert.Single(report.GetProperty("engines").EnumerateArray()).GetProperty("bundle").GetString());
        Assert.Equal("acme", report.GetProperty("bundle").GetProperty("publisher").GetString());
        Assert.Equal(2, Rules(Json(1, "scan", "samples", "--with-builtin")).Length);
        File.WriteAllText(_kit["mine.yar"], Eicar("mine"));
        JsonElement mine = Json(1, "scan", "samples", "--rules", _kit["mine.yar"]);
        Assert.Equal(["mine"], Rules(mine));
        Assert.False(mine.TryGetProperty("bundle", out _));

        _kit.Rule(Eicar("from_two"));
        string two = _kit["two.vmbundle"];
        Json0("signatures", "build", folder, "--key", _kit["key.pem"], "--out", two, "--name", "acme", "--version", "99999999999999");
        Json(0, "signatures", "update", "--from", two);
        Assert.Equal(["from_two"], Rules(Json(1, "scan", "samples")));
        Assert.Equal("sound", Json(0, "signatures", "verify").GetProperty("outcome").GetString());
        Json(0, "signatures", "rollback");
        Assert.Equal(["from_one"], Rules(Json(1, "scan", "samples")));
        Assert.Equal("rolled-back-before", Json(0, "signatures", "update", "--from", two).GetProperty("outcome").GetString());
        JsonElement list = Json(0, "signatures", "list");
        Assert.Equal(id, list.GetProperty("active").GetProperty("id").GetString());
        Assert.Equal(99999999999999, list.GetProperty("previous").GetProperty("version").GetInt64());

        string rule = Directory.GetFiles(Path.Combine(_kit.State, "signatures/bundles", id["sha256:".Length..]), "a.yar", SearchOption.AllDirectories).Single();
        File.WriteAllText(rule, Eicar("from_bad"));
        Assert.Contains("rules/a.yar", Json(2, "signatures", "verify").GetProperty("faults").ToString(), StringComparison.Ordinal);

        JsonElement Json0(params string[] arguments)
        {
            (int ended, string output, string said) = Launcher.Run([.. arguments, "--format", "json"]);
            Assert.True(ended == 0, said + output);
            return JsonDocument.Parse(output).RootElement;
        }
    }

    [Fact]
    public void Own_rules_are_taken_with_unsigned_alone_and_said_loudly()
    {
        string folder = Path.Combine(_kit.Rule(Eicar("own")), "rules");
        (int status, _, string error) = Run("signatures", "add", folder);
        Assert.Equal(2, status);
        Assert.Contains("--unsigned", error, StringComparison.Ordinal);
        (status, string output, error) = Run("signatures", "add", folder, "--unsigned");
        Assert.True(status == 0, error);
        Assert.Contains("WARNING", error, StringComparison.Ordinal);
        Assert.Contains("NOT SIGNED", output, StringComparison.Ordinal);
        (_, output, _) = Run("scan", "samples");
        Assert.Contains("own", output, StringComparison.Ordinal);
        Assert.Contains("NOT SIGNED", output, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "b.yar"), "rule broken { condition: $x }");
        (status, _, error) = Run("signatures", "add", folder, "--unsigned");
        Assert.Equal(2, status);
        Assert.Contains("rules/b.yar:1: rule broken", error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_expired_bundle_is_used_and_is_a_gap()
    {
        _kit.Rule("rule never { condition: false }");
        DateTimeOffset expires = TimeProvider.System.GetUtcNow().AddSeconds(3);
        _kit.Install(_kit.Bundle(7, expires));
        SpinWait.SpinUntil(() => TimeProvider.System.GetUtcNow() > expires);
        File.WriteAllText(_kit["allow.json"], """{ "schema": "vmsweep.allow/1", "entries": [ { "rule": "Name_DoubleExtension", "who": "anna", "why": "of the sample", "until": "2100-01-01" } ] }""");
        JsonElement report = Json(3, "scan", "samples", "--allow", _kit["allow.json"]);
        JsonElement gap = Assert.Single(report.Gaps());
        Assert.Equal("limit", gap.GetProperty("fault").GetString());
        Assert.Equal("signature bundle", gap.GetProperty("structure").GetString());
        Assert.Contains("acme version 7 expired on", gap.GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.True(report.GetProperty("bundle").GetProperty("isExpired").GetBoolean());
        (int status, string output, _) = Run("doctor");
        Assert.Equal(3, status);
        Assert.Contains("acme version 7, EXPIRED on", output, StringComparison.Ordinal);
        Assert.Contains("vmsweep signatures update", output, StringComparison.Ordinal);
        Assert.Equal("expired", Json(3, "signatures", "verify").GetProperty("outcome").GetString());
    }

    [Fact]
    public void A_finding_that_is_allowed_is_shown_by_every_outlet_and_counted_by_none()
    {
        File.WriteAllText(_kit["allow.json"], $$"""
            { "schema": "vmsweep.allow/1", "entries": [
              { "path": "v1/Users/anna/Downloads/*", "who": "anna", "why": "training \u001b[31mmaterial\nforged line", "until": "2100-01-01" },
              { "path": "v1/users/anna/readme.txt:*", "who": "anna", "why": "other case", "until": "2100-01-01" },
              { "path": "v1/Users/anna/readme.txt", "who": "anna", "why": "without the stream", "until": "2100-01-01" },
              { "path": "v1/Users/**", "who": "anna", "until": "2100-01-01" },
              { "path": "v1/Users/**:*", "who": "anna", "why": "long ago", "until": "2020-01-01" } ] }
            """);
        JsonElement report = Json(1, "scan", "samples", "--allow", _kit["allow.json"]);
        JsonElement[] findings = [.. report.GetProperty("targets")[0].GetProperty("findings").EnumerateArray()];
        JsonElement suppressed = findings.First(f => f.GetProperty("path").GetString() == Invoice).GetProperty("suppressed");
        Assert.Equal("anna", suppressed.GetProperty("who").GetString());
        Assert.StartsWith("training", suppressed.GetProperty("why").GetString(), StringComparison.Ordinal);
        Assert.Equal(_kit["allow.json"] + ":2", suppressed.GetProperty("where").GetString());
        Assert.False(findings.Single(f => f.GetProperty("path").GetString() == Hidden).TryGetProperty("suppressed", out _));
        // The double extension of that path is allowed with it.
        Assert.Equal((1, 2), (report.GetProperty("totals").GetProperty("findings").GetInt32(), report.GetProperty("totals").GetProperty("suppressed").GetInt32()));
        Assert.Equal([5, 6], report.GetProperty("ruleFaults").EnumerateArray().Select(f => f.GetProperty("line").GetInt32()));

        // Both allowed, one by the operator's list that holds for every scan: nothing is left that counts.
        string allow = Path.Combine(_kit.State, "signatures/allow");
        Directory.CreateDirectory(allow);
        File.WriteAllText(Path.Combine(allow, "own.json"), $$"""{ "schema": "vmsweep.allow/1", "entries": [ { "rule": "EICAR_Test_File", "path": "{{Hidden}}", "vm": "*web01.vmdk", "who": "bob", "why": "known", "until": "2100-01-01" } ] }""");
        JsonElement both = Json(0, "scan", "samples", "--allow", _kit["allow.json"]);
        Assert.Equal("clean", both.GetProperty("verdict").GetString());
        Assert.Equal(3, both.Findings().Count);

        (int status, string text, string error) = Run("scan", "samples", "--allow", _kit["allow.json"]);
        Assert.Equal(0, status);
        Assert.Contains(Invoice + @": training \x1B[31mmaterial\nforged line (anna, until 2100-01-02 00:00 UTC)", text, StringComparison.Ordinal);
        Assert.Contains("3 suppressed", text, StringComparison.Ordinal);
        Assert.Contains("allow.json:6: allow entry: it ended with 2020-01-01", text, StringComparison.Ordinal);
        Assert.DoesNotContain('\e', text + error);

        (status, text, _) = Run("scan", "samples", "--allow", _kit["allow.json"], "--format", "ndjson");
        Assert.Equal(0, status);
        JsonElement[] lines = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.All(lines.Where(l => l.GetProperty("event").GetString() == "finding"), l => Assert.Equal(JsonValueKind.Object, l.GetProperty("finding").GetProperty("suppressed").ValueKind));
        Assert.Equal(3, lines[^1].GetProperty("totals").GetProperty("suppressed").GetInt32());
    }

    [Fact]
    public void A_bundle_brings_hashes_and_allow_lists()
    {
        string sha256 = Json(1, "scan", "samples").GetProperty("targets")[0].GetProperty("findings")[0].GetProperty("sha256").GetString()!;
        _kit.Rule("rule never { condition: false }");
        _kit.Rule($"{sha256},Test.File,low\n", "hashes/list.csv");
        _kit.Install(_kit.Bundle(1));
        JsonElement report = Json(1, "scan", "samples");
        Assert.Equal(["Test.File"], Rules(report));
        Assert.Equal(["hash", "yara"], report.GetProperty("engines").EnumerateArray().Select(e => e.GetProperty("name").GetString()).Order());
        _kit.Rule($$"""{ "schema": "vmsweep.allow/1", "entries": [ { "sha256": "{{sha256}}", "who": "acme", "why": "harmless", "until": "2100-01-01" } ] }""", "allow/list.json");
        _kit.Install(_kit.Bundle(2));
        Assert.Equal(3, Json(0, "scan", "samples").GetProperty("totals").GetProperty("suppressed").GetInt32());
    }

    [Fact]
    public void A_trial_names_false_alarms_and_the_slowest_rule_first()
    {
        string good = Directory.CreateDirectory(_kit["good/sub"]).Parent!.FullName;
        File.WriteAllText(Path.Combine(good, "sub/a.txt"), "this is a good file with a needle in it");
        for (int i = 0; i < 8; i++)
        {
            File.WriteAllText(Path.Combine(good, $"{i}.txt"), string.Concat(Enumerable.Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b ", 5000)));
        }

        File.CreateSymbolicLink(Path.Combine(good, "link"), "/etc/passwd");
        _kit.Rule("""
            rule fast { strings: $a = "zzzzzzzz" condition: $a }
            rule alarm { strings: $a = "needle" condition: $a }
            rule slow { strings: $a = /aaaa[^b]{1,50}[xyz]{3}/ condition: $a }
            """);
        JsonElement report = Json(1, "signatures", "test", "--bundle", _kit.Bundle(1), "--good", good);
        JsonElement alarm = Assert.Single(report.GetProperty("falseAlarms").EnumerateArray());
        Assert.Equal(("alarm", "sub/a.txt"), (alarm.GetProperty("rule").GetString(), alarm.GetProperty("path").GetString()));
        JsonElement trial = report.GetProperty("trial");
        Assert.Equal(9, trial.GetProperty("files").GetInt32());
        JsonElement[] rules = [.. trial.GetProperty("rules").EnumerateArray()];
        Assert.Equal(3, rules.Length);
        Assert.Equal("slow", rules[0].GetProperty("rule").GetString());
        Assert.Equal(("rules/a.yar", 3), (rules[0].GetProperty("file").GetString(), rules[0].GetProperty("line").GetInt32()));
        double[] costs = [.. rules.Select(r => r.GetProperty("milliseconds").GetDouble())];
        Assert.Equal(costs.OrderDescending(), costs);
        Assert.Null(_kit.Store.ActiveId);

        (int status, string output, _) = Run("signatures", "test", "--bundle", _kit["in"] + "/rules/a.yar", "--good", good);
        Assert.Equal(1, status);
        Assert.Contains("1 false alarms in 9 files", output, StringComparison.Ordinal);
        Assert.Equal(0, Run("signatures", "test", "--good", good, "--sample", "100k").Status);
    }

    [Theory]
    [InlineData("signatures", "add", "/no/such/bundle")]
    [InlineData("signatures", "add", "README.md")]
    [InlineData("signatures", "verify")]
    [InlineData("signatures", "rollback")]
    [InlineData("signatures", "update")]
    [InlineData("signatures", "update", "--from", "http://127.0.0.1/x")]
    [InlineData("signatures", "test", "--good", "/no/such/folder")]
    [InlineData("signatures", "trust", "add", "README.md")]
    [InlineData("signatures", "trust", "remove", "nobody")]
    [InlineData("scan", "samples", "--allow", "README.md")]
    [InlineData("scan", "samples", "--allow", "/no/such/list")]
    public void What_cannot_be_carried_out_ends_with_status_2_and_a_message(params string[] arguments)
    {
        using var empty = new Scratch();
        (int status, string output, string error) = Launcher.Run([.. arguments, "--state", empty.Folder]);
        Assert.True(status == 2, status.ToString(CultureInfo.InvariantCulture) + output + error);
        Assert.StartsWith("vmsweep: ", error, StringComparison.Ordinal);
        Assert.DoesNotContain("defect", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Completion_and_help_know_the_commands()
    {
        const string Line = "vmsweep signatures ";
        string suggested = Launcher.Run($"[suggest:{Line.Length}]", Line).Output;
        string help = Launcher.Run("signatures", "--help").Output;
        foreach (string command in (string[])["list", "add", "update", "verify", "test", "rollback", "build", "trust"])
        {
            Assert.Contains(command, suggested.Split('\n'));
            Assert.Contains("  " + command, help, StringComparison.Ordinal);
        }

        Assert.Contains("--allow", Launcher.Run("scan", "--help").Output, StringComparison.Ordinal);
        Assert.Equal(2, Launcher.Run("signatures", "list", "--state", "none").Status);
    }
}
