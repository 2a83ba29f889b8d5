using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Xen;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Golden;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>Scans that read only what changed, by the pool's changed block tracking.</summary>
[Collection(XenCollection.Name)]
[Trait("Category", "Slow")]
public sealed class XenChangesTests(XenFixture xen)
{
    [Fact]
    public void A_later_view_tells_what_changed_to_the_block()
    {
        XenRig rig = xen.Fresh();
        string disk = rig.Disks(XenRig.Machine)[0];
        using XenConnector connector = xen.Connector();
        string first = Track(connector, null, ranges => Assert.Null(ranges));
        Assert.True((bool)rig.GetDisk(disk, "cbt_enabled")!);
        string record = Assert.Single(rig.Left().Disks);
        Assert.Empty(rig.Left().Snapshots);
        Assert.Equal("cbt_metadata", (string?)rig.GetDisk(record, "type"));

        rig.Write(disk, f =>
        {
            f.Position = 100_000;
            f.Write([1, 2, 3]);
            f.Position = (3 << 20) - 1;
            f.Write([9, 9]);
        });
        string second = Track(connector, first, ranges => Assert.Equal([new ChangedRange(65_536, 65_536), new ChangedRange((3 << 20) - 65_536, 131_072)], ranges));
        Assert.NotEqual(record, Assert.Single(rig.Left().Disks));
        Assert.Single(xen.Journal.List());

        // Nothing was written; and a mark that nobody knows any more tells nothing.
        string third = Track(connector, second, ranges => Assert.Empty(ranges!));
        Track(connector, first, ranges => Assert.Null(ranges));
        Track(connector, third, ranges => Assert.Null(ranges));
        Assert.NotNull(Assert.Single(new LeaseReaper(xen.Journal, _ => xen.Connector(), TimeProvider.System).Run(xen.Journal.List()[0].Record.Id)).Record);
        Assert.False((bool)rig.GetDisk(disk, "cbt_enabled")!);
        xen.AssertNothingLeft();
    }

    [Fact]
    public void A_view_that_is_not_read_to_its_end_leaves_no_record_and_switches_tracking_off_again()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.OpenTracked(connector, null))
        {
            Assert.NotNull(view.Changes!.Mark);
        }

        Assert.False((bool)rig.GetDisk(rig.Disks(XenRig.Machine)[0], "cbt_enabled")!);
        xen.AssertNothingLeft();

        // Tracking that others switched on is theirs.
        rig.SetDisk(rig.Disks(XenRig.Machine)[0], "cbt_enabled", true);
        xen.OpenTracked(connector, null).Dispose();
        Assert.True((bool)rig.GetDisk(rig.Disks(XenRig.Machine)[0], "cbt_enabled")!);
        xen.AssertNothingLeft();
    }

    [Fact]
    public void Where_changes_cannot_be_tracked_all_is_read()
    {
        XenRig rig = xen.Fresh();
        rig.HasTracking = false;
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.OpenTracked(connector, "vmsweep-0"))
        {
            Assert.Null(view.Changes!.Mark);
            Assert.Null(view.Changes.Of(view.Vm.Disks[0]));
            xen.AssertContent(view);
        }

        xen.AssertNothingLeft();
        rig.HasTracking = true;
        string first = Track(connector, null, _ => { });

        // What the pool says of changes is taken only where it covers the disk.
        rig.Arm("VDI.list_changed_blocks", "error:SR_BACKEND_FAILURE_460");
        string second = Track(connector, first, ranges => Assert.Null(ranges));

        // Tracking was switched off and on by somebody: the record is of nothing.
        rig.SetDisk(rig.Disks(XenRig.Machine)[0], "cbt_enabled", false);
        Track(connector, second, ranges => Assert.NotNull(ranges));
    }

    [Fact]
    public void What_is_kept_as_evidence_is_no_record()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector();
        using (IVmView view = xen.OpenTracked(connector, null))
        {
            view.Changes!.Keep();
            view.Changes.Release();
            Assert.NotNull(view.Keep());
        }

        Assert.Single(rig.Left().Snapshots);
        (LeaseRecord kept, _) = Assert.Single(xen.Journal.List());
        Assert.Equal((XenConnector.ViewKind, true), (kept.Kind, kept.IsKept));
        Assert.Null(Assert.Single(new LeaseReaper(xen.Journal, _ => xen.Connector(), TimeProvider.System).Run(kept.Id)).Failure);
        xen.AssertNothingLeft();
    }

    [Fact]
    public void The_program_reads_what_changed_and_finds_what_came()
    {
        XenRig rig = xen.Fresh(isFull: true);
        using var scratch = new Scratch();
        JsonElement first = Scan(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/x.com"]);
        long all = Total(first, "bytesRead");
        Tool.Shell("cp --sparse=always \"$0\" d && printf '%s' \"$1\" > new.com && dd if=d of=fat bs=1M skip=25 count=16 status=none && MTOOLS_SKIP_CHECK=1 mcopy -i fat new.com :: && dd if=fat of=d bs=1M seek=25 conv=notrunc status=none"
            .Replace("\"$0\"", $"'{xen.Raw}'", StringComparison.Ordinal).Replace("\"$1\"", $"'{TestDisks.Eicar.Replace("'", "'\\''", StringComparison.Ordinal)}'", StringComparison.Ordinal), scratch.Folder);
        rig.Fill(rig.Disks(XenRig.Machine)[0], scratch["d"]);
        JsonElement second = Scan(["EICAR_Test_File v1/x.com", "EICAR_Test_File v2/NEW.COM", "EICAR_Test_File v2/x.com"]);
        JsonElement changes = second.GetProperty("targets")[0].GetProperty("changes");
        Assert.True(changes.TryGetProperty("since", out _) && changes.GetProperty("isKept").GetBoolean(), changes.ToString());
        Assert.True(Total(second, "filesUnchanged") > 0, second.GetProperty("totals").ToString());
        Assert.True(Total(second, "bytesRead") <= all);
        string record = Assert.Single(xen.Journal.List()).Record.Id.ToString();
        (int status, string output, string error) = Program.Run(["leases", "reap", record, .. xen.Options()]);
        Assert.True(status == 0, output + error);
        xen.AssertNothingLeft(sessions: true);
    }

    private JsonElement Scan(string[] found)
    {
        JsonElement report = Program.Scan([$"lab/{XenRig.Machine}", "--changed", .. xen.Options()]);
        Assert.Equal(found.Order(StringComparer.OrdinalIgnoreCase), report.Findings().Order(StringComparer.OrdinalIgnoreCase), StringComparer.OrdinalIgnoreCase);
        Assert.Empty(report.Gaps());
        return report;
    }

    private static long Total(JsonElement report, string name) => report.GetProperty("totals").GetProperty(name).GetInt64();

    /// <summary>A view that is read to its end.</summary>
    /// <returns>Its mark.</returns>
    private string Track(XenConnector connector, string? since, Action<IReadOnlyList<ChangedRange>?> check)
    {
        using IVmView view = xen.OpenTracked(connector, since);
        check(view.Changes!.Of(view.Vm.Disks[0]));
        string mark = view.Changes.Mark!;
        view.Changes.Keep();
        view.Changes.Release();
        return mark;
    }
}
