using System.Diagnostics;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>A scan that is killed at any of its steps leaves nothing on the host once the next one has started.</summary>
[Collection(HyperVCollection.Name)]
[Trait("Category", "Slow")]
public sealed class HyperVKillTests(HyperVFixture hyperV)
{
    /// <param name="step">Known by what it has made.</param>
    /// <param name="method">What takes long, so that it can be met.</param>
    [Theory]
    [InlineData("lease", "", "")]
    [InlineData("asked", "CreateSnapshot", "delay:1500")]
    [InlineData("job", "Get", "delay:1000")]
    [InlineData("made", "CreateSnapshot", "delayafter:1500")]
    [InlineData("named", "ModifySystemSettings", "delay:1500")]
    [InlineData("worker", "", "")]
    [InlineData("ending", "DestroySnapshot", "delay:1500")]
    [InlineData("removed", "DestroySnapshot", "delayafter:1500")]
    public void Killed_at_every_step(string step, string method, string action)
    {
        HyperVMachine machine = hyperV.Fresh();
        if (method.Length > 0)
        {
            hyperV.Rig.Arm(method, action, times: 1);
        }

        using Process scan = Program.Start(["scan", $"lab/{HyperVFixture.Machine}", "--no-progress", .. hyperV.Options()]);
        bool isReached = SpinWait.SpinUntil(() => scan.HasExited || Is(step, machine, scan), TimeSpan.FromSeconds(120)) && !scan.HasExited;
        scan.Kill();
        scan.WaitForExit();
        Assert.True(isReached, $"{step} was not met");

        // What was asked for right before the kill the host may still be about to do; everything else can be undone at once.
        TimeProvider time = step == "asked" ? TimeProvider.System : new VSphereKillTests.Later();
        foreach ((LeaseRecord record, string? failure) in new LeaseReaper(hyperV.Journal, _ => hyperV.Connector(), time).Run())
        {
            Assert.True(failure is null, $"{record.Kind}: {failure}");
        }

        hyperV.AssertNothingLeft();
        Assert.Equal("2", machine.State);
    }

    private bool Is(string step, HyperVMachine machine, Process scan)
    {
        string leases = Path.Combine(hyperV.State, "leases");
        if (!Directory.Exists(leases) || Directory.GetFiles(leases, "*.json").Length == 0)
        {
            return false;
        }

        bool Called(string method) => hyperV.Rig.Calls.ContainsKey(method);
        int checkpoints;
        lock (hyperV.Rig.World)
        {
            checkpoints = machine.Checkpoints.Count;
        }

        return step switch
        {
            "lease" => true,
            "asked" => Called("CreateSnapshot") && checkpoints == 0,
            "job" => Called("Get"),
            "made" => Called("CreateSnapshot") && checkpoints == 1,
            "named" => Called("ModifySystemSettings"),
            "worker" => checkpoints == 1 && KilledScan.HasChild(scan),
            "ending" => Called("DestroySnapshot") && checkpoints == 1,
            "removed" => Called("DestroySnapshot") && checkpoints == 0,
            _ => throw new ArgumentOutOfRangeException(nameof(step)),
        };
    }
}
