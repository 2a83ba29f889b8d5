using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using CsCheck;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>What a thin disk has not allocated is not fetched, and nothing of what it has is missed, whatever the host says.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereThinTests : IDisposable
{
    private const string Machine = VSphereRig.Machine;
    private const string Disk = Machine + "/thin.vmdk";
    private const int Block = 64 << 10;
    private const int Bytes = 160 << 20;

    private readonly VSphereFixture _vsphere;
    private readonly VSphereRig _rig;
    private readonly Scratch _scratch = new();
    private readonly string _raw;

    public VSphereThinTests(VSphereFixture vsphere)
    {
        _vsphere = vsphere;
        _rig = vsphere.Fresh();
        _raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar, ["large.txt"] = Convert.ToBase64String(RandomNumberGenerator.GetBytes(2 << 20)) });

        // Mostly empty, as thin disks are.
        Tool.Shell($"truncate -s {Bytes} '{_raw}' && sgdisk -e '{_raw}'", _scratch.Folder);
        _rig.SetDisk(Machine, _raw, Disk);
        _rig.Vm(Machine, ("disk", "0"), ("thin", "1"), ("tracking", "1"));
    }

    [Theory]
    [InlineData("poweredOn", "0")]
    [InlineData("poweredOff", "5242880")]
    public void What_is_not_allocated_is_not_fetched_and_what_is_is_whole(string power, string cap)
    {
        _rig.Vm(Machine, ("power", power));
        using VSphereConnector connector = _vsphere.Connector();
        _rig.Vm(Machine, ("disk", "0"), ("thin", "0"));
        (int requests, long bytes) whole = Read(connector, out _);
        Assert.Equal(0, Calls("QueryChangedDiskAreas"));

        _rig.Vm(Machine, ("disk", "0"), ("thin", "1"));
        _rig.Reset();
        _rig.Control("areas", ("bytes", cap));
        (int requests, long bytes) thin = Read(connector, out IReadOnlyList<string> notes);
        Assert.Empty(notes);
        Assert.Equal(cap == "0" ? 1 : Bytes / (5 << 20), Calls("QueryChangedDiskAreas"));
        int stored = Stored();
        Assert.True(thin.bytes < whole.bytes / 5, $"{thin} of {whole}, {stored} MiB are stored");

        // The samples are requests too.
        Assert.True(thin.requests < whole.requests / 2, $"{thin} of {whole}, {stored} MiB are stored");
        _vsphere.AssertNothingLeft(Disk);
    }

    [Fact]
    public void A_host_that_lies_is_found_out_and_everything_is_read()
    {
        _rig.Control("areas", ("lie", "1"));
        JsonElement report = Program.Scan([$"lab/{Machine}", .. _vsphere.Options()]);
        Assert.Equal(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"], report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        string note = Assert.Single(report.GetProperty("targets")[0].GetProperty("notes").EnumerateArray()).GetString()!;
        Assert.Contains("all of it is read", note, StringComparison.Ordinal);
        using VSphereConnector connector = _vsphere.Connector();
        Read(connector, out IReadOnlyList<string> notes);
        Assert.Single(notes);
        _vsphere.AssertNothingLeft(Disk);
    }

    [Theory]
    [InlineData("fault:NoPermission", 1)]
    [InlineData("fault:FileFault", 1)]
    [InlineData("garbage", 9)]
    public void A_host_that_does_not_tell_is_read_whole(string action, int times)
    {
        _rig.Arm("soap", action, "QueryChangedDiskAreas", times);
        using VSphereConnector connector = _vsphere.Connector();
        (_, long bytes) = Read(connector, out IReadOnlyList<string> notes);
        Assert.Empty(notes);
        Assert.True(bytes >= Bytes, $"{bytes}");
        _vsphere.AssertNothingLeft(Disk);
    }

    [Fact]
    public void Nothing_is_asked_of_a_disk_without_change_ids_or_over_another_layer()
    {
        using VSphereConnector connector = _vsphere.Connector();
        MoRef vm = connector.Locate(connector.List().Single(v => v.Name == Machine).Id, "gone")!.Value;
        MoRef his = connector.Tasks.CreateSnapshot(vm, "before the update", "", quiesce: false);
        Read(connector, out _);
        connector.Tasks.RemoveSnapshot(his);
        _rig.Vm(Machine, ("tracking", "0"));
        Read(connector, out _);
        Assert.Equal(0, Calls("QueryChangedDiskAreas"));
        _vsphere.AssertNothingLeft(Disk);
    }

    [Fact]
    public void Areas_answer_for_every_byte() =>
        Gen.Select(Gen.Int[0, 3].Array[0, 20], Gen.Int[0, 2]).Sample((steps, tail) =>
        {
            List<(long, long)> given = [];
            List<bool> bytes = [];
            for (int i = 0; i < steps.Length; i++)
            {
                // In turns a gap, which may be none, and an area.
                if (i % 2 == 1 && steps[i] > 0)
                {
                    given.Add((bytes.Count, steps[i]));
                }

                bytes.AddRange(Enumerable.Repeat(i % 2 == 1, steps[i]));
            }

            bytes.AddRange(Enumerable.Repeat(false, tail));
            var areas = new AllocatedAreas(given, bytes.Count);
            int[] free = [.. Enumerable.Range(0, bytes.Count).Where(i => !bytes[i])];
            return areas.UnallocatedBytes == free.Length
                && free.Select((at, number) => areas.Unallocated(number) == at).All(same => same)
                && Enumerable.Range(0, bytes.Count).All(at => Enumerable.Range(1, bytes.Count - at).All(count =>
                    areas.At(at, count) == (bytes[at], Math.Min(count, bytes.Skip(at).TakeWhile(b => b == bytes[at]).Count()))));
        });

    public void Dispose()
    {
        _rig.Reset();
        _rig.Vm(Machine, ("tracking", "0"), ("clear", "1"), ("disk", "0"), ("thin", "0"), ("file", "[LocalDS_0] " + VSphereFixture.Disk), ("capacity", new FileInfo(_vsphere.Raw).Length.ToString(CultureInfo.InvariantCulture)));
        _scratch.Dispose();
    }

    /// <summary>MiB of the disk that hold anything.</summary>
    private int Stored()
    {
        byte[] raw = File.ReadAllBytes(_raw);
        return Enumerable.Range(0, raw.Length / Block).Count(i => raw.AsSpan(i * Block, Block).ContainsAnyExcept((byte)0)) * Block >> 20;
    }

    /// <summary>Every byte of a view, as a worker asks for them: what is stored alone.</summary>
    private (int Requests, long Bytes) Read(VSphereConnector connector, out IReadOnlyList<string> notes)
    {
        JsonElement before = _rig.Control("log");
        using (IVmView view = _vsphere.Open(connector, Machine))
        {
            Assert.Empty(view.Vm.Gaps);
            notes = view.Vm.Notes;
            var context = new ReadContext(new ScanBudget(256 << 20), new GapList());
            using var opener = new ChainOpener(view.Vm.Disks[0].Plan, context);
            using DiskReaders.Containers.VirtualDisk disk = opener.OpenDisk();
            byte[] expected = File.ReadAllBytes(_raw), got = new byte[expected.Length];
            Assert.Equal(expected.Length, disk.Content.Length);
            for (int at = 0; at < got.Length; at += Block)
            {
                disk.Content.Read(at, got.AsSpan(at, Block));
            }

            Assert.Equal(expected, got);
        }

        JsonElement after = _rig.Control("log");
        return (after.GetProperty("folder").GetInt32() - before.GetProperty("folder").GetInt32(), after.GetProperty("bytes").GetInt64() - before.GetProperty("bytes").GetInt64());
    }

    private int Calls(string method) => _rig.Control("log").GetProperty("calls").TryGetProperty(method, out JsonElement count) ? count.GetInt32() : 0;
}
