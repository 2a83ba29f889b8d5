using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Qemu;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>Bitmaps of a QEMU without a guest: what is written is written by its own monitor, so that every byte of it is known. Not beside others that look through the host for what is left.</summary>
[Collection(LibvirtCollection.Name)]
[Trait("Category", "Slow")]
public sealed class QemuBitmapTests : IDisposable
{
    private const int Block = 64 << 10;

    private readonly Scratch _scratch = new();
    private Daemon _qemu;

    public QemuBitmapTests()
    {
        Tool.Run("qemu-img", "create", "-q", "-f", "qcow2", First, "64M");
        Tool.Run("qemu-img", "create", "-q", "-f", "raw", Second, "64M");
        _qemu = Start();
    }

    private string First => _scratch["a.qcow2"];

    private string Second => _scratch["b.raw"];

    private string Monitor => _scratch["qmp"];

    private LeaseJournal Journal => new(_scratch["leases"], TimeProvider.System);

    [Fact]
    public void No_write_is_lost_between_two_views_nor_by_one_that_fails()
    {
        string mark = Mark();
        Write("first", 1);
        Write("second", 5);
        using (IVmView view = Open(mark))
        {
            // Not of the moment any more.
            Write("first", 3);
            Assert.Equal([Range(1)], view.Changes!.Of(view.Vm.Disks[0])!);
            Assert.Equal([Range(5)], view.Changes.Of(view.Vm.Disks[1])!);
            Assert.NotEqual(mark, view.Changes.Mark);
            Assert.Equal([mark, mark, view.Changes.Mark, view.Changes.Mark], Bitmaps().Where(b => b != "vmsweep-since").Order(StringComparer.Ordinal).OrderBy(b => b != mark));
        }

        // It was not kept: only the first is there, and goes on.
        Assert.Equal([mark, mark], Bitmaps());
        string later;
        using (IVmView view = Open(mark))
        {
            Assert.Equal([Range(1), Range(3)], view.Changes!.Of(view.Vm.Disks[0])!);
            view.Changes.Keep();
            view.Changes.Release();
            later = view.Changes.Mark!;
        }

        Assert.Equal([later, later], Bitmaps());
        Assert.Equal(later, "vmsweep-" + Assert.Single(Journal.List()).Record.Key);
        using (IVmView view = Open(later))
        {
            Assert.Empty(view.Changes!.Of(view.Vm.Disks[0])!);
            Assert.Empty(view.Changes.Of(view.Vm.Disks[1])!);
        }

        Assert.Contains("is gone", Doubt(mark, 0), StringComparison.Ordinal);
    }

    [Fact]
    public void A_bitmap_that_does_not_tell_without_doubt_is_not_believed()
    {
        string mark = Mark();
        Assert.Contains("no bitmap of ours", Doubt("backup-0", 0), StringComparison.Ordinal);
        Write("first", 7);
        Run("block-dirty-bitmap-disable", "first", new JsonObject { ["name"] = mark });
        Assert.Contains("switched off", Doubt(mark, 0), StringComparison.Ordinal);
        Run("block-dirty-bitmap-enable", "first", new JsonObject { ["name"] = mark });
        Run("block-dirty-bitmap-remove", "second", new JsonObject { ["name"] = mark });
        Assert.Contains("is gone", Doubt(mark, 1), StringComparison.Ordinal);
        Run("block-dirty-bitmap-add", "second", new JsonObject { ["name"] = mark, ["granularity"] = 4096 });
        Assert.Contains("granularity of 4096 bytes", Doubt(mark, 1), StringComparison.Ordinal);

        // As it ends, QEMU stores what a qcow2 image can keep, and goes on with it.
        _qemu.Signal("TERM");
        StartAgain();
        using (IVmView view = Open(mark))
        {
            Assert.Equal([Range(7)], view.Changes!.Of(view.Vm.Disks[0])!);
        }

        Assert.Contains("is gone", Doubt(mark, 1), StringComparison.Ordinal);

        // Killed it stores nothing, and what the image keeps from before is marked as not whole.
        _qemu.Kill();
        StartAgain();
        Assert.Contains("is broken", Doubt(mark, 0), StringComparison.Ordinal);

        // A view is opened and its own bitmap kept all the same, and the broken one removed.
        string later;
        using (IVmView view = Open(mark))
        {
            view.Changes!.Keep();
            view.Changes.Release();
            later = view.Changes.Mark!;
        }

        Assert.Equal([later, later], Bitmaps());
    }

    [Fact]
    public void While_the_VM_is_off_a_bitmap_stays_wanted_until_it_is_reaped_or_nothing_of_it_can_be_left()
    {
        string mark = Mark();
        _qemu.Signal("TERM");
        Ended();
        Assert.Contains(mark, Tool.Run("qemu-img", "info", First), StringComparison.Ordinal);
        LeaseRecord lease = Assert.Single(Journal.List()).Record;
        Assert.True(lease.IsKept);
        Assert.Empty(Reap());
        Assert.Null(Assert.Single(Reap(lease.Id)).Failure);
        Assert.DoesNotContain(mark, Tool.Run("qemu-img", "info", First), StringComparison.Ordinal);

        // Nor is anything asked of an image that names another file: a tenant may have written its header.
        StartAgain();
        mark = Mark();
        _qemu.Signal("TERM");
        Ended();
        using (FileStream image = File.OpenWrite(First))
        {
            image.Position = 79;
            image.WriteByte(4);
        }

        lease = Assert.Single(Journal.List()).Record;
        Assert.Contains("names a data file", Assert.Single(Reap(lease.Id)).Failure, StringComparison.Ordinal);
        File.Delete(First);
        Assert.Null(Assert.Single(Reap()).Failure);
        Assert.Empty(Journal.List());
    }

    public void Dispose()
    {
        _qemu.Dispose();
        _scratch.Dispose();
    }

    private Daemon Start() => Daemon.Start(
        "qemu-system-x86_64",
        () => Daemon.Listens(Monitor),
        "-M", "q35", "-m", "16", "-S", "-nodefaults", "-display", "none", "-qmp", $"unix:{Monitor},server=on,wait=off",
        "-drive", $"file={First},format=qcow2,if=none,id=first", "-device", "virtio-blk-pci,drive=first",
        "-drive", $"file={Second},format=raw,if=none,id=second", "-device", "virtio-blk-pci,drive=second");

    private void StartAgain()
    {
        Ended();
        _qemu.Dispose();
        File.Delete(Monitor);
        _qemu = Start();
    }

    private void Ended() => Assert.True(SpinWait.SpinUntil(() => _qemu.HasExited, TimeSpan.FromSeconds(120)));

    private static ChangedRange Range(int megabyte) => new(megabyte << 20, Block);

    private void Write(string drive, int megabyte) => Ask(q => q.Run("human-monitor-command", new JsonObject { ["command-line"] = $"qemu-io {drive} \"write {megabyte}M {Block}\"" }));

    private void Run(string command, string drive, JsonObject arguments)
    {
        arguments["node"] = drive;
        Ask(q => q.Run(command, arguments));
    }

    private T Ask<T>(Func<QmpClient, T> ask)
    {
        using QmpClient qemu = QmpClient.Open(Monitor);
        return ask(qemu);
    }

    private List<string> Bitmaps() => Ask(q => q.Run("query-named-block-nodes")!.AsArray().SelectMany(n => n!["dirty-bitmaps"]?.AsArray() ?? []).Select(b => (string?)b!["name"]).OfType<string>().ToList());

    private IVmView Open(string? mark)
    {
        using var catalog = new ConnectorCatalog(ApplianceConfiguration.Empty, TimeProvider.System);
        Assert.True(catalog.TryFind("qemu://" + Monitor, new ViewRequest(Journal, []), out IReadOnlyList<Vm>? vms));
        return Assert.Single(vms).OpenTracked!(mark);
    }

    /// <summary>Of a view that was read to its end.</summary>
    private string Mark()
    {
        using IVmView view = Open(null);
        view.Changes!.Keep();
        return view.Changes.Mark!;
    }

    private string Doubt(string mark, int disk)
    {
        using IVmView view = Open(mark);
        return Assert.ThrowsAny<IOException>(() => view.Changes!.Of(view.Vm.Disks[disk])).Message;
    }

    private IReadOnlyList<(LeaseRecord Record, string? Failure)> Reap(Guid? only = null) =>
        new LeaseReaper(Journal, lease => new ConnectorCatalog(ApplianceConfiguration.Empty, TimeProvider.System).Open(lease.Connector), new VSphereKillTests.Later()).Run(only);
}
