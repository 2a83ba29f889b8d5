using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Appliance.Leases;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>A scan that is killed at any of its steps leaves nothing on the server once the next one has started.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereKillTests(VSphereFixture vsphere)
{
    /// <param name="step">Known by what it has made.</param>
    /// <param name="method">What takes long, so that it can be met.</param>
    [Theory]
    [InlineData("lease", "", "")]
    [InlineData("asked", "CreateSnapshot_Task", "delay:2000")]
    [InlineData("made", "CreateSnapshot_Task", "delayafter:2000")]
    [InlineData("spool", "HttpNfcLeaseComplete", "delay:2000")]
    [InlineData("socket", "", "")]
    [InlineData("worker", "", "")]
    [InlineData("later", "", "")]
    [InlineData("ending", "RemoveSnapshot_Task", "delay:2000")]
    [InlineData("removed", "RemoveSnapshot_Task", "delayafter:2000")]
    public void Killed_at_every_step(string step, string method, string action)
    {
        VSphereRig rig = vsphere.Fresh();
        if (method.Length > 0)
        {
            rig.Arm("soap", action, method);
        }

        using var spool = new Scratch();
        string[] options = vsphere.Options(step == "spool" ? $", \"ways\": [\"export\"], \"spool\": \"{spool.Folder}\"" : "");
        using Process scan = Program.Start(["scan", $"lab/{VSphereRig.Machine}", "--no-progress", .. options]);
        bool isReached = SpinWait.SpinUntil(() => scan.HasExited || Is(step, scan, spool.Folder), TimeSpan.FromSeconds(120)) && !scan.HasExited;
        scan.Kill();
        scan.WaitForExit();
        Assert.True(isReached, $"{step} was not met");

        // What was asked for right before the kill the server may still be about to do; everything else can be undone at once.
        TimeProvider time = step == "asked" ? TimeProvider.System : new Later();
        foreach ((LeaseRecord record, string? failure) in new LeaseReaper(vsphere.Journal, _ => vsphere.Connector(), time).Run())
        {
            Assert.True(failure is null, $"{record.Kind}: {failure}");
        }

        vsphere.AssertNothingLeft();
        Assert.Empty(Directory.GetFileSystemEntries(spool.Folder));
        Assert.Equal("poweredOn", rig.Vm(VSphereRig.Machine).GetProperty("power").GetString());
    }

    private bool Is(string step, Process scan, string spool)
    {
        string leases = Path.Combine(vsphere.State, "leases");
        if (!Directory.Exists(leases) || Directory.GetFiles(leases, "*.json") is not [string record, ..])
        {
            return false;
        }

        JsonElement Rig() => vsphere.Rig.Vm(VSphereRig.Machine).GetProperty("snapshots");
        bool Called(string method) => vsphere.Rig.Control("log").GetProperty("calls").TryGetProperty(method, out _);
        bool Serves() => File.Exists(Path.Combine(vsphere.Views, Path.GetFileNameWithoutExtension(record), "nbd"));
        switch (step)
        {
            case "lease":
                return true;
            case "asked":
                return Called("CreateSnapshot_Task") && Rig().ValueKind == JsonValueKind.Null;
            case "made":
                return Rig().ValueKind == JsonValueKind.Array;
            case "spool":
                return Directory.GetFiles(spool, "*.vmdk", SearchOption.AllDirectories).Length > 0;
            case "socket":
                return Serves();
            case "worker":
                return Serves() && KilledScan.HasChild(scan);
            case "later":
                if (!Serves() || !KilledScan.HasChild(scan))
                {
                    return false;
                }

                Thread.Sleep(150);
                return true;
            case "ending":
                return Called("RemoveSnapshot_Task") && Rig().ValueKind == JsonValueKind.Array;
            case "removed":
                return Called("RemoveSnapshot_Task") && Rig().ValueKind == JsonValueKind.Null;
            default:
                throw new ArgumentOutOfRangeException(nameof(step));
        }
    }

    internal sealed class Later : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + TimeSpan.FromMinutes(1);
    }
}
