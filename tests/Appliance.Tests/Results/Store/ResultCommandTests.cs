using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>Recorded results as a user meets them: through the launcher, with real workers.</summary>
public sealed class ResultCommandTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void Scans_are_recorded_listed_shown_hunted_and_backed_up()
    {
        const string Script = "#!/bin/sh\necho this is only here\n";
        string web = Disk("web", new() { ["home/bad\u202Egpj.txt"] = "MARKER one", ["usr/bin/tool"] = Script, ["notes.txt"] = "nothing" });
        Disk("db", new() { ["srv/x.txt"] = "MARKER two", ["usr/bin/other"] = Script });
        File.WriteAllText(_scratch["rules.yar"], "rule marker { meta: severity = \"high\" strings: $a = \"MARKER\" condition: $a }\n");
        File.WriteAllText(_scratch["vmsweep.json"], "{ \"connectors\": {} }");
        Launcher.Run("--version");
        Scan(1, _scratch["vms"]);
        JsonElement list = Json(0, "findings", "list", "--rule", "mark*");
        Assert.Equal(2, list.GetProperty("findings").GetArrayLength());
        Assert.All(list.GetProperty("findings").EnumerateArray(), f => Assert.Equal("new", f.GetProperty("state").GetString()));

        // The file is removed, and the scan that reads the place says so.
        web = Disk("web", new() { ["usr/bin/tool"] = Script, ["notes.txt"] = "nothing" });
        File.WriteAllText(_scratch["vmsweep.json"], "{ \"connectors\": {}, \"retention\": { \"scanDays\": 30 } }");
        Scan(1, _scratch["vms"]);
        JsonElement all = Json(0, "findings", "list", "--rule", "marker", "--finding-state", "all");
        JsonElement gone = all.GetProperty("findings").EnumerateArray().Single(f => f.GetProperty("state").GetString() == "gone");
        Assert.Equal("web.raw", gone.GetProperty("vmName").GetString());
        Assert.Equal("open", Json(0, "findings", "list", "--rule", "marker").GetProperty("findings")[0].GetProperty("state").GetString());
        Assert.Empty(Json(0, "findings", "list", "--rule", "marker", "--vm", "web.raw").GetProperty("findings").EnumerateArray());
        string id = gone.GetProperty("id").GetInt64().ToString(System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal(["new", "gone"], Json(0, "findings", "show", id).GetProperty("scans").EnumerateArray().Select(s => s.GetProperty("kind").GetString()));
        string text = Run(0, "findings", "show", id);
        Assert.Contains("its place was read, and it was not there", text, StringComparison.Ordinal);
        Assert.DoesNotContain('\u202E', text);
        Assert.DoesNotContain('\u202E', Run(0, "findings", "list", "--finding-state", "all"));
        Run(2, "findings", "show", "999999");

        JsonElement hunt = Json(1, "hunt", "--sha256", Convert.ToHexString(Scans.Hash(Script)));
        Assert.Equal(["db.raw v1/usr/bin/other", "web.raw v1/usr/bin/tool"], hunt.GetProperty("sightings").EnumerateArray().Select(s => $"{s.GetProperty("vmName")} {s.GetProperty("path")}"));
        Assert.Equal(2, Json(1, "hunt", "--rule", "marker").GetProperty("findings").GetArrayLength());
        Assert.Equal(1, Json(1, "hunt", "--sha256", Convert.ToHexString(Scans.Hash("MARKER one"))).GetProperty("findings").GetArrayLength());
        Json(0, "hunt", "--sha256", new string('0', 64));
        Run(2, "hunt", "--sha256", "beef");

        // A rule is run over what is there now; a VM that is not is a gap.
        File.WriteAllText(_scratch["hunt.yar"], "rule hunted { strings: $a = \"this is only here\" condition: $a }\n");
        Assert.Equal(2, Json(1, "hunt", "--rule", _scratch["hunt.yar"]).Findings().Count);
        File.Delete(web);
        JsonElement without = Json(1, "hunt", "--rule", _scratch["hunt.yar"]);
        Assert.Single(without.Findings());
        Assert.Contains("not found now", Assert.Single(without.Gaps()).GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.Empty(Json(0, "findings", "list", "--rule", "hunted", "--finding-state", "all").GetProperty("findings").EnumerateArray());

        Run(0, "state", "backup", _scratch["backup.db"]);
        Directory.CreateDirectory(_scratch["restored"]);
        File.Copy(_scratch["backup.db"], _scratch["restored/vmsweep.db"]);
        (int status, string output, string error) = Launcher.Run("findings", "list", "--format", "json", "--finding-state", "all", "--rule", "marker", "--state", _scratch["restored"]);
        Assert.True(status == 0, error);
        Assert.Equal(2, JsonDocument.Parse(output).RootElement.GetProperty("findings").GetArrayLength());
        string audit = Run(0, "state", "audit");
        Assert.Equal(2, audit.Split('\n').Count(l => l.Contains("  configuration  ", StringComparison.Ordinal)));
        Assert.Contains("  backup  ", audit, StringComparison.Ordinal);
        Assert.Equal(2, audit.Split('\n').Count(l => l.Contains("  hunt  ", StringComparison.Ordinal)));
        Assert.Equal(2, audit.Split('\n').Count(l => l.Contains("  scan  ", StringComparison.Ordinal)));
        Assert.StartsWith("removed 0 scans", Run(0, "state", "prune"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_scan_that_keeps_nothing_records_nothing_and_a_full_disk_costs_the_record_alone()
    {
        string disk = SmallDisk.Make(_scratch["disk.raw"], new Dictionary<string, string> { ["a.txt"] = "MARKER" });
        File.WriteAllText(_scratch["rules.yar"], "rule marker { strings: $a = \"MARKER\" condition: $a }\n");
        Directory.CreateDirectory(_scratch["state"]);
        Launcher.Run("scan", "--rules", _scratch["rules.yar"], "--state", _scratch["state"], "--no-cache", disk);
        Run(2, "findings", "list");
        Tool.Run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", _scratch["state"]);
        try
        {
            (int status, string output, string error) = Launcher.Run("scan", "--format", "json", "--rules", _scratch["rules.yar"], "--state", _scratch["state"], disk);
            Assert.Equal(1, status);
            Assert.Contains(JsonDocument.Parse(output).RootElement.Findings(), f => f.Contains("marker", StringComparison.Ordinal));
            Assert.Contains("NOT RECORDED", error, StringComparison.Ordinal);
        }
        finally
        {
            Tool.Run("umount", _scratch["state"]);
        }
    }

    private string Disk(string name, Dictionary<string, string> files) => SmallDisk.Make(_scratch[$"vms/{name}.raw"], files);

    private void Scan(int expected, string target)
    {
        (int status, _, string error) = Launcher.Run(
            "scan", "--out", _scratch["report.txt"], "--rules", _scratch["rules.yar"], "--state", _scratch["state"], "--config", _scratch["vmsweep.json"], target);
        Assert.Equal((expected, ""), (status, error.Trim()));
    }

    private string Run(int expected, params string[] arguments)
    {
        (int status, string output, string error) = Launcher.Run([.. arguments, "--state", _scratch["state"]]);
        Assert.True(status == expected, $"{status}: {error}{output}");
        return output;
    }

    private JsonElement Json(int expected, params string[] arguments) => JsonDocument.Parse(Run(expected, [.. arguments, "--format", "json"])).RootElement;
}
