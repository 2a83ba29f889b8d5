using System.Diagnostics;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>A scan that is killed at any of its steps leaves nothing on the pool once the next one has started.</summary>
[Collection(XenCollection.Name)]
[Trait("Category", "Slow")]
public sealed class XenKillTests(XenFixture xen)
{
    /// <param name="step">Known by what it has made.</param>
    /// <param name="method">What takes long, so that it can be met.</param>
    [Theory]
    [InlineData("lease", "", false)]
    [InlineData("enabled", "Async.VM.snapshot", true)]
    [InlineData("asked", "Async.VM.snapshot", false)]
    [InlineData("made", "VDI.get_nbd_info", true)]
    [InlineData("spooled", "", false)]
    [InlineData("worker", "", false)]
    [InlineData("ending", "Async.VDI.destroy", false)]
    [InlineData("half", "Async.VM.destroy", false)]
    [InlineData("half", "Async.VDI.data_destroy", true)]
    [InlineData("removed", "session.logout", false)]
    public void Killed_at_every_step(string step, string method, bool isTracked)
    {
        XenRig rig = xen.Fresh(isFull: true);
        if (method.Length > 0)
        {
            rig.Arm(method, method.StartsWith("Async.", StringComparison.Ordinal) ? "delay:1500" : "hang");
        }

        string more = "";
        if (step == "spooled")
        {
            rig.NbdWay = "none";
            more = $", \"spool\": \"{xen.Spool}\"";
        }

        using Process scan = Program.Start(["scan", $"lab/{XenRig.Machine}", "--no-progress", .. isTracked ? ["--changed"] : Array.Empty<string>(), .. xen.Options(more)]);
        bool isReached = SpinWait.SpinUntil(() => scan.HasExited || Is(step, method, scan), TimeSpan.FromSeconds(120)) && !scan.HasExited;
        scan.Kill();
        scan.WaitForExit();
        Assert.True(isReached, $"{step} was not met");

        // The pool tells what it is still about to do, and that is waited for; nothing is left to the reaper's own patience.
        TimeProvider time = new VSphereKillTests.Later();
        foreach ((LeaseRecord record, string? failure) in new LeaseReaper(xen.Journal, _ => xen.Connector(), time).Run())
        {
            Assert.True(failure is null, $"{record.Kind}: {failure}");
        }

        foreach ((LeaseRecord kept, _) in xen.Journal.List())
        {
            // What a scan that had come to its end keeps on purpose has no data any more.
            Assert.Equal((true, "half", "cbt_metadata"), (isTracked, step, (string?)rig.GetDisk(Assert.Single(rig.Left().Disks), "type")));
            Assert.Null(Assert.Single(new LeaseReaper(xen.Journal, _ => xen.Connector(), time).Run(kept.Id)).Failure);
        }

        xen.AssertNothingLeft();
        Assert.False((bool)rig.GetDisk(rig.Disks(XenRig.Machine)[0], "cbt_enabled")!);
    }

    private bool Is(string step, string method, Process scan)
    {
        string leases = Path.Combine(xen.State, "leases");
        string[] records = Directory.Exists(leases) ? Directory.GetFiles(leases, "*.json") : [];
        bool isServed = records.Any(r => File.Exists(Path.Combine(xen.Views, Path.GetFileNameWithoutExtension(r), "nbd")));
        return step switch
        {
            "removed" => xen.Rig.Calls(method) > 0,
            _ when records.Length == 0 => false,
            "lease" => true,
            "enabled" or "asked" => xen.Rig.Calls(method) > 0 && xen.Rig.Left().Snapshots.Length == 0,
            "made" or "ending" => xen.Rig.Calls(method) > 0 && xen.Rig.Left().Snapshots.Length == 1,
            "spooled" => Directory.GetFiles(xen.Spool, "*", SearchOption.AllDirectories).Length > 0,
            "half" => xen.Rig.Calls(method) > 0,
            "worker" => isServed && KilledScan.HasChild(scan),
            _ => throw new ArgumentOutOfRangeException(nameof(step)),
        };
    }
}
