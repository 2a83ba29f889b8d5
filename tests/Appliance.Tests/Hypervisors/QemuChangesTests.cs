using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Qemu;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>Scans of a bare QEMU that read only what changed, by bitmaps of a real one. Not beside others that look through the host for what is left.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class QemuChangesTests : IDisposable
{
    /// <summary>Of the guest's ten large files together.</summary>
    private const long LargeBytes = 30_000_000;

    private readonly QemuRig _rig = new();
    private readonly Scratch _state = new();
    private readonly List<string> _planted = [];

    private LeaseJournal Journal => new(Path.Combine(_state.Folder, "leases"), TimeProvider.System);

    [Fact]
    public void What_changed_is_read_whatever_step_a_scan_is_killed_at()
    {
        Plant("first.com");
        JsonElement report = Scan();
        Assert.Equal(0, Total(report, "filesUnchanged"));
        Assert.True(Total(report, "bytesRead") > LargeBytes);
        Assert.False(Changes(report).TryGetProperty("since", out _));
        LeaseRecord kept = Kept();
        foreach (string step in (string[])["lease", "view", "worker", "kept"])
        {
            Plant(step + ".com");
            using (Process scan = Program.Start(["scan", Target, "--changed", "--no-progress", "--state", _state.Folder]))
            {
                while (!scan.HasExited && !Is(step, kept, scan))
                {
                    Thread.Sleep(1);
                }

                // The last step is over within milliseconds.
                Assert.True(!scan.HasExited || step == "kept", $"{step} was not met");
                scan.Kill();
                scan.WaitForExit();
            }

            Assert.All(Reap(), r => Assert.Null(r.Failure));
            IReadOnlyList<(LeaseRecord Record, bool IsHeld)> left = Journal.List();
            Assert.True(step == "kept" || left.Single().Record.Id == kept.Id);
            Assert.All(left, l => Assert.True(l.Record.IsKept));
            Assert.Equal(left.Count, Bitmaps().Distinct().Count());
        }

        AssertBuilt(Scan());
        Assert.NotEqual(kept.Id, Kept().Id);

        // QEMU stores the bitmap of the first disk as it ends, and loads it again. A raw image keeps none.
        Plant("ended.com");
        _rig.Quit();
        _rig.StartAgain();
        AssertBuilt(report = Scan());
        Assert.Equal($"{_rig.SecondDisk}: its bitmap of changes is gone: QEMU was started anew, the disk is another one, or somebody removed it", Changes(report).GetProperty("detail").GetString());
        Kept();
    }

    public void Dispose()
    {
        _rig.Dispose();
        _state.Dispose();
    }

    private string Target => "qemu://" + _rig.Monitor;

    private void Plant(string name)
    {
        _rig.Serial.PlantEicar(name);
        _planted.Add(name);
    }

    private JsonElement Scan()
    {
        JsonElement report = Program.Scan(Target, "--changed", "--state", _state.Folder);
        Assert.Equal(_planted.Select(f => $"EICAR_Test_File d1v1/{f}").Order(StringComparer.Ordinal), report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        Assert.True(Changes(report).GetProperty("isKept").GetBoolean(), Changes(report).ToString());
        return report;
    }

    private static void AssertBuilt(JsonElement report)
    {
        Assert.True(Changes(report).TryGetProperty("since", out _), Changes(report).ToString());

        // The first and the last cluster of a large file may be one with something else that was written.
        Assert.True(Total(report, "bytesUnchanged") >= LargeBytes * 2 / 3, report.GetProperty("totals").ToString());
        Assert.True(Total(report, "bytesRead") < LargeBytes / 3, report.GetProperty("totals").ToString());
    }

    private static JsonElement Changes(JsonElement report) => report.GetProperty("targets")[0].GetProperty("changes");

    private static long Total(JsonElement report, string name) => report.GetProperty("totals").GetProperty(name).GetInt64();

    /// <summary>The one lease that is there: bitmaps that are kept, on both disks, and no others are.</summary>
    private LeaseRecord Kept()
    {
        (LeaseRecord record, bool isHeld) = Assert.Single(Journal.List());
        Assert.Equal((QemuConnector.BitmapKind, true, false), (record.Kind, record.IsKept, isHeld));
        Assert.Equal([$"vmsweep-{record.Key}", $"vmsweep-{record.Key}"], Bitmaps());
        return record;
    }

    private List<string> Bitmaps()
    {
        using QmpClient qemu = QmpClient.Open(_rig.Monitor);
        return [.. qemu.Run("query-named-block-nodes")!.AsArray().SelectMany(n => n!["dirty-bitmaps"]?.AsArray() ?? []).Select(b => (string?)b!["name"] ?? "unnamed")];
    }

    private IReadOnlyList<(LeaseRecord Record, string? Failure)> Reap() =>
        new LeaseReaper(Journal, lease => new ConnectorCatalog(ApplianceConfiguration.Empty, TimeProvider.System).Open(lease.Connector), new VSphereKillTests.Later()).Run();

    private bool Is(string step, LeaseRecord before, Process scan)
    {
        string[] others = [.. Directory.GetFiles(Journal.Folder, "*.json").Where(f => Path.GetFileNameWithoutExtension(f) != before.Key)];
        bool Holds(string text) => others.Any(f => ReadOrNothing(f).Contains(text, StringComparison.Ordinal));
        bool IsServed() => others.Any(f => File.Exists($"/run/vmsweep/views/{Path.GetFileNameWithoutExtension(f)}/nbd"));
        return step switch
        {
            "lease" => Holds(QemuConnector.BitmapKind),
            "view" => IsServed(),
            "worker" => IsServed() && KilledScan.HasChild(scan),
            "kept" => Holds("\"isKept\": true"),
            _ => throw new ArgumentOutOfRangeException(nameof(step)),
        };
    }

    private static string ReadOrNothing(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
