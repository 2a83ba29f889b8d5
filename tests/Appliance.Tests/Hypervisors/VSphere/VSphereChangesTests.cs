using System.Security.Cryptography;
using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>
/// Scans that read only what changed, by changed block tracking of a simulated host: it keeps what a disk held at each change id, and answers with what differs.
/// </summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereChangesTests : IDisposable
{
    private const string Machine = VSphereRig.Machine;
    private const string Disk = Machine + "/tracked.vmdk";

    /// <summary>Of the large files together, which lie on both partitions.</summary>
    private const int LargeBytes = 6 << 20;

    private readonly VSphereFixture _vsphere;
    private readonly VSphereRig _rig;
    private readonly Scratch _scratch = new();

    public VSphereChangesTests(VSphereFixture vsphere)
    {
        _vsphere = vsphere;
        _rig = vsphere.Fresh();
        var files = new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar };
        for (int i = 0; i < 6; i++)
        {
            files[$"large{i}.txt"] = Convert.ToBase64String(RandomNumberGenerator.GetBytes(LargeBytes / 6 * 3 / 4));
        }

        _rig.SetDisk(Machine, TestDisks.Raw(_scratch, files), Disk);

        // What a thin disk has not allocated is asked for too.
        _rig.Vm(Machine, ("tracking", "1"), ("disk", "0"), ("thin", "0"));
    }

    [Theory]
    [InlineData("poweredOn", "5242880")]
    [InlineData("poweredOff", "0")]
    public void A_second_scan_reads_what_changed_and_finds_what_came(string power, string cap)
    {
        _rig.Vm(Machine, ("power", power));
        _rig.Control("areas", ("bytes", cap));
        JsonElement report = Scan("v1/x.com", "v2/x.com");
        Assert.Equal(0, Total(report, "filesUnchanged"));
        Assert.False(Changes(report).TryGetProperty("since", out _));
        Assert.Equal(0, Calls("QueryChangedDiskAreas"));

        Plant("y.com");
        report = Scan("v1/x.com", "v1/y.com", "v2/x.com");
        Assert.True(Changes(report).TryGetProperty("since", out _), Changes(report).ToString());

        // The first and the last block of a large file may be one with something else that was written.
        Assert.True(Total(report, "bytesUnchanged") >= 2 * LargeBytes * 2 / 3, report.GetProperty("totals").ToString());
        Assert.True(Total(report, "bytesRead") < LargeBytes / 2, report.GetProperty("totals").ToString());
        Assert.Equal(cap == "0" ? 1 : (48 + 4) / 5, Calls("QueryChangedDiskAreas"));
        _vsphere.AssertNothingLeft(Disk);
    }

    [Fact]
    public void What_cannot_be_told_is_read_and_said()
    {
        using VSphereConnector connector = _vsphere.Connector();
        string mark = Mark(connector);
        Plant("y.com");

        // Each is asked for by the same mark, and what one does to the host the next finds undone or goes on from.
        AssertTold(connector, mark);
        _rig.Arm("soap", "fault:FileFault", "QueryChangedDiskAreas");
        AssertDoubt(connector, mark, "FileFault");
        foreach (string action in (string[])["garbage", "endless", "status:404"])
        {
            _rig.Arm("soap", action, "QueryChangedDiskAreas", times: 9);
            AssertDoubt(connector, mark, "QueryChangedDiskAreas");
            _rig.Reset();
        }

        AssertTold(connector, mark);
        AssertDoubt(connector, "vmsweep-0123", "no change id of it at the last scan");
        AssertDoubt(connector, mark.Replace("tracked", "other", StringComparison.Ordinal), "another file is in its place");
        AssertDoubt(connector, mark.Replace("\"bytes\":5", "\"bytes\":4", StringComparison.Ordinal), "its size is not what it was");
        mark = Mark(connector);
        _rig.Vm(Machine, ("tracking", "back"));
        AssertDoubt(connector, mark, "went back to an earlier moment");
        _rig.Vm(Machine, ("tracking", "1"));
        AssertDoubt(connector, mark, "begun anew since the last scan");
        mark = Mark(connector);
        _rig.Vm(Machine, ("tracking", "0"));
        AssertDoubt(connector, mark, "changed block tracking is off", unmarked: "changed block tracking is off");
    }

    [Fact]
    public void A_VM_that_may_be_reverted_gets_no_mark_and_one_without_tracking_is_read_whole()
    {
        using VSphereConnector connector = _vsphere.Connector();
        MoRef vm = connector.Locate(connector.List().Single(v => v.Name == Machine).Id, "gone")!.Value;
        MoRef his = connector.Tasks.CreateSnapshot(vm, "before the update", "", quiesce: false);
        using (IVmView view = Open(connector, null))
        {
            Assert.Null(view.Changes!.Mark);
            Assert.Contains("may be reverted", view.Changes.Unmarked, StringComparison.Ordinal);
        }

        connector.Tasks.RemoveSnapshot(his);
        _rig.Vm(Machine, ("tracking", "0"));
        JsonElement report = Scan(isKept: false, "v1/x.com", "v2/x.com");
        Assert.Contains("changed block tracking is off", Changes(report).GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.Equal(0, Total(report, "bytesUnchanged"));
        Assert.Equal(0, Calls("QueryChangedDiskAreas"));
        _vsphere.AssertNothingLeft(Disk);
    }

    public void Dispose()
    {
        _rig.Vm(Machine, ("tracking", "0"), ("clear", "1"), ("disk", "0"), ("file", "[LocalDS_0] " + VSphereFixture.Disk), ("capacity", new FileInfo(_vsphere.Raw).Length.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        _scratch.Dispose();
    }

    /// <summary>The guest writes while nobody looks: a file more in its first volume.</summary>
    private void Plant(string name)
    {
        File.WriteAllText(_scratch[name], TestDisks.Eicar);
        string flat = Path.Combine(_rig.Datastore, Disk.Replace(".vmdk", "-flat.vmdk", StringComparison.Ordinal));
        Tool.Run("debugfs", "-w", "-R", $"write {_scratch[name]} {name}", flat + "?offset=1048576");
    }

    private JsonElement Scan(params string[] found) => Scan(true, found);

    private JsonElement Scan(bool isKept, params string[] found)
    {
        JsonElement report = Program.Scan([$"lab/{Machine}", "--changed", "--recheck", "0", .. _vsphere.Options()]);
        Assert.Equal(found.Select(f => "EICAR_Test_File " + f), report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        Assert.Equal(isKept, Changes(report).GetProperty("isKept").GetBoolean());
        return report;
    }

    private IVmView Open(VSphereConnector connector, string? mark) =>
        connector.Target(connector.List().Single(v => v.Name == Machine), "lab/" + Machine, new ViewRequest(_vsphere.Journal, [])).OpenTracked!(mark);

    private string Mark(VSphereConnector connector)
    {
        using IVmView view = Open(connector, null);
        return view.Changes!.Mark!;
    }

    private void AssertTold(VSphereConnector connector, string mark)
    {
        using IVmView view = Open(connector, mark);
        IReadOnlyList<ChangedRange> changed = view.Changes!.Of(view.Vm.Disks[0])!;
        Assert.NotEqual(mark, view.Changes.Mark);

        // Some blocks of the file system, and whatever may lie behind the disk's end.
        Assert.InRange(changed.SkipLast(1).Sum(c => c.Length), 1, 1 << 20);
        Assert.Equal(new ChangedRange(48 << 20, long.MaxValue - (48 << 20)), changed[^1]);
    }

    private void AssertDoubt(VSphereConnector connector, string mark, string why, string unmarked = "")
    {
        using IVmView view = Open(connector, mark);
        Assert.Contains(why, Assert.ThrowsAny<IOException>(() => view.Changes!.Of(view.Vm.Disks[0])).Message, StringComparison.Ordinal);
        Assert.Equal(unmarked.Length == 0, view.Changes!.Mark is not null);
        Assert.Contains(unmarked, view.Changes.Unmarked, StringComparison.Ordinal);
    }

    private int Calls(string method) => _rig.Control("log").GetProperty("calls").TryGetProperty(method, out JsonElement count) ? count.GetInt32() : 0;

    private static JsonElement Changes(JsonElement report) => report.GetProperty("targets")[0].GetProperty("changes");

    private static long Total(JsonElement report, string name) => report.GetProperty("totals").GetProperty(name).GetInt64();
}
