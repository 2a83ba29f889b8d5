using System.Globalization;
using System.Text;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Sweeps.Configuration;

namespace Vmsweep.Appliance.Tests.Sweeps;

/// <summary>Sweeps and tenants in <c>vmsweep.json</c>: what is wrong is said with file and line, before anything starts.</summary>
public sealed class SweepConfigurationTests
{
    [Fact]
    public void Everything_that_can_be_said_is_read()
    {
        SweepConfiguration read = Parse(
            """
            { "connectors": { "dc1": { "address": "vsphere://esx1" } },
              "tenants": { "acme": { "folders": ["/srv/acme", "dc1/Tenants/acme"] }, "acme2": { "folders": ["/srv/acme2/"], "sharesVerdicts": false } },
              "sweeps": { "nightly": {
                "what": { "connectors": ["dc1"], "folders": ["/srv/acme/a/"], "bases": ["/srv/base"], "tenant": "acme",
                          "include": { "names": ["web*"], "folders": ["dc1/Web/"], "tags": ["prod"] }, "exclude": { "names": ["*-test"] } },
                "when": "0 22 * * mon-fri", "timeZone": "Europe/Berlin",
                "windows": [ { "start": "22:00", "end": "05:00", "days": ["mon", "tue", "wed", "thu"] }, { "start": "18:00", "end": "24:00", "days": ["fri"] } ],
                "blackOut": ["2026-12-24", "2026-12-31..2027-01-02"], "atWindowEnd": "pause", "priority": ["critical", "db"],
                "depth": "changed", "fullEveryDays": 14, "recheckPerMille": 5,
                "signatures": { "engines": ["yara", "hash"], "rules": ["/etc/rules"], "withBuiltin": true, "hashes": ["/etc/bad"], "knownGood": ["/etc/good"], "clamd": "/run/clamd" },
                "limits": { "disks": 8, "disksPerDatastore": 2, "disksPerHost": 3, "disksPerTenant": 4, "bytesPerSecond": "400M", "bytesPerSecondPerDatastore": "100M",
                            "bytesPerSecondPerHost": "200M", "bytesPerSecondPerTenant": "300M", "targetLatencyMilliseconds": 20, "stopLatencyMilliseconds": 200,
                            "nice": 19, "ioClass": "idle", "threads": 2, "memory": "64M" } } } }
            """).Sweeps;
        SweepSettings nightly = read.Sweeps["nightly"];
        Assert.Equal(["/srv/acme2"], read.Tenants[1].Folders);
        Assert.Equal([true, false], read.Tenants.Select(t => t.SharesVerdicts));
        Assert.Equal(0.005, nightly.RecheckShare);
        Assert.Equal(["dc1", "/srv/acme/a", "/srv/base", "acme"], [.. nightly.What.Connectors, .. nightly.What.Folders, .. nightly.What.Bases, nightly.What.Tenant!]);
        Assert.Equal(["web*", "dc1/Web", "prod"], [.. nightly.What.Include!.Names, .. nightly.What.Include.Folders, .. nightly.What.Include.Tags]);
        Assert.Equal(["*-test"], nightly.What.Exclude!.Names);
        Assert.Equal(At("2026-06-12T20:00Z"), nightly.Schedule!.After(At("2026-06-12T12:00Z")));
        Assert.True(nightly.Windows.IsOpen(At("2026-06-12T21:00Z")), "Friday evening");
        Assert.False(nightly.Windows.IsOpen(At("2026-06-12T23:00Z")), "Friday night");
        Assert.False(nightly.Windows.IsOpen(At("2026-12-24T22:00Z")), "Christmas");
        Assert.Equal((WindowEnd.Pause, true, 14), (nightly.AtEnd, nightly.OnlyChanges, nightly.FullEveryDays));
        Assert.Equal(["critical", "db"], nightly.Priority);
        SweepSignatures signatures = nightly.Signatures;
        Assert.Equal(["yara", "hash", "/etc/rules", "/etc/bad", "/etc/good", "/run/clamd"], [.. signatures.Engines, .. signatures.Rules, .. signatures.Hashes, .. signatures.KnownGood, signatures.ClamdSocket!]);
        Assert.True(signatures.WithBuiltin);
        SweepLimits limits = nightly.Limits;
        Assert.Equal((8, 2, 3, 4), (limits.Disks, limits.DisksPerDatastore, limits.DisksPerHost, limits.DisksPerTenant));
        Assert.Equal((400L << 20, 100L << 20, 200L << 20, 300L << 20), (limits.BytesPerSecond, limits.BytesPerSecondPerDatastore, limits.BytesPerSecondPerHost, limits.BytesPerSecondPerTenant));
        Assert.Equal((20, 200), (limits.TargetLatency!.Value.TotalMilliseconds, limits.StopLatency!.Value.TotalMilliseconds));
        Assert.Equal((19, "idle", 2, 64L << 20), (limits.Nice, limits.IoClass, limits.Threads, limits.MemoryBytes));
    }

    [Theory]
    [InlineData("\"nightly\": {\n \"waht\": {} }", "unknown key \"waht\"")]
    [InlineData("\"nightly\":\n { }", "does not say \"what\"")]
    [InlineData("\"night ly\":\n { \"what\": { \"folders\": [\"/a\"] } }", "no name of a sweep")]
    [InlineData("\"nightly\": { \"what\":\n { } }", "neither \"connectors\" nor \"folders\"")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\n\"a\"] } }", "no absolute path")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\n\"/a/../b\"] } }", "without")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\",\n\"/a/b\"] } }", "lie in each other")]
    [InlineData("\"nightly\": { \"what\": { \"connectors\": [\n\"dc1\"] } }", "no connector \"dc1\"")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"], \"include\":\n {} } }", "are expected")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"when\": \"61 0 * * *\" }", "no schedule")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"when\": \"0 22 30 2 *\" }", "never due")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"timeZone\": \"Europe/Atlantis\" }", "no time zone")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"windows\": [ {\n \"start\": \"25:00\", \"end\": \"05:00\" } ] }", "no time of day")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"windows\": [\n { \"start\": \"22:00\" } ] }", "\"end\" is missing")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"windows\": [ { \"start\": \"22:00\", \"end\": \"05:00\" },\n { \"start\": \"04:00\", \"end\": \"06:00\" } ] }", "at the same time")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"windows\": [ { \"start\": \"22:00\", \"end\": \"05:00\", \"days\": [\n\"monday\"] } ] }", "no day")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"windows\": [ { \"start\": \"22:00\", \"end\": \"05:00\", \"days\":\n [] } ] }", "never open")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"blackOut\": [\n\"24.12.2026\"] }", "neither a date")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"blackOut\": [\n\"2026-12-24..2026-12-23\"] }", "neither a date")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"blackOut\": [\"2000-01-01..9998-01-01\"] }", "leave no window")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"atWindowEnd\": \"explode\" }", "none of finish, pause, end")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"memoryScan\": \"always\" }", "none of yes, no, running")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] },\n \"fullEveryDays\": 3 }", "belongs to")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"signatures\": { \"engines\": [\n\"magic\"] } }", "no engine")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"limits\": {\n \"disks\": 0 } }", "whole number")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"limits\": {\n \"bytesPerSecond\": \"1K\" } }", "at least 64K")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"limits\": {\n \"stopLatencyMilliseconds\": 10 } }", "belongs to")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"limits\": { \"targetLatencyMilliseconds\": 20,\n \"stopLatencyMilliseconds\": 20 } }", "longer")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"] }, \"limits\": {\n \"ioClass\": \"realtime\" } }", "none of idle")]
    [InlineData("\"nightly\": { \"what\": { \"folders\": [\"/a\"],\n \"tenant\": \"acme\" } }", "no tenant \"acme\"")]
    public void What_is_wrong_with_a_sweep_is_named_with_its_line(string sweep, string why) => Wrong($"{{ \"sweeps\": {{ {sweep} }} }}", 2, why);

    [Theory]
    [InlineData("{ \"tenants\": { \"a\":\n {} } }", "no \"folders\"")]
    [InlineData("{ \"tenants\": { \"a\": { \"folders\": [\n\"x/y\"] } } }", "neither an absolute path")]
    [InlineData("{ \"tenants\": { \"a\": { \"folders\": [\"/t\"] }, \"b\": { \"folders\": [\n\"/t\"] } } }", "belongs to the tenant \"a\"")]
    [InlineData("{ \"tenants\": { \"a\": { \"folders\": [\"/t\"] }, \"b\": { \"folders\": [\n\"/t/inner\"] } } }", "belongs to the tenant \"a\"")]
    [InlineData("{ \"tenants\": { \"a\": { \"folders\": [\"/t/inner\"] }, \"b\": { \"folders\": [\n\"/t/\"] } } }", "belongs to the tenant \"a\"")]
    [InlineData("{ \"tenants\": { \"a\": { \"folders\": [\"/t\"] }, \"b\": { \"folders\": [\"/u\"] } }, \"sweeps\": { \"n\": { \"what\": { \"tenant\": \"a\", \"folders\": [\n\"/u/x\"] } } } }", "belongs to the tenant \"b\"")]
    public void A_tenant_never_owns_what_is_anothers(string json, string why) => Wrong(json, 2, why);

    private static void Wrong(string json, int line, string why)
    {
        ConfigurationException wrong = Assert.Throws<ConfigurationException>(() => Parse(json));
        Assert.StartsWith($"/etc/v.json:{line}: ", wrong.Message, StringComparison.Ordinal);
        Assert.Contains(why, wrong.Message, StringComparison.Ordinal);
    }

    private static ApplianceConfiguration Parse(string json) => ApplianceConfiguration.Parse("/etc/v.json", Encoding.UTF8.GetBytes(json));

    private static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);
}
