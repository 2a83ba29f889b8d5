using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>One libvirtd for all tests of this collection, which run one after the other; each has a guest of its own.</summary>
[CollectionDefinition(Name)]
public sealed class LibvirtCollection : ICollectionFixture<LibvirtFixture>
{
    public const string Name = "libvirt";
}

public sealed class LibvirtFixture : IDisposable
{
    private const string Shared = "shared";

    private readonly Lazy<LibvirtRig> _rig = new(() =>
    {
        var rig = new LibvirtRig();
        RunningGuest.MakeDisks(rig.Images);
        return rig;
    });

    private readonly Scratch _state = new();
    private readonly SeenLeases _leases;
    private GuestSerial? _serial;

    public LibvirtFixture() => _leases = new SeenLeases(_state.Folder);

    public LibvirtRig Rig => _rig.Value;

    public string State => _state.Folder;

    public string Configuration
    {
        get
        {
            string path = _state["vmsweep.json"];
            File.WriteAllText(path, $$"""{ "connectors": { "lab": { "address": "{{Rig.Address}}", "views": "{{Rig.Views}}", "saves": "{{Rig.Saves}}", "minimumFree": "10M" } } }""");
            return path;
        }
    }

    public string[] Options => ["--config", Configuration, "--state", State];

    /// <summary>The guest that tests share, running and without what others planted: booting one takes longer than most tests.</summary>
    public (string Name, GuestSerial Serial) Guest()
    {
        if (_serial is not null && !Rig.Virsh("domstate", Shared).Contains("running", StringComparison.Ordinal))
        {
            // A test that failed left it so.
            Ended();
        }

        if (_serial is null)
        {
            if (Rig.TryVirsh("domid", Shared).Status != 0)
            {
                Rig.Define(Shared, Disks(Shared));
            }

            _serial = Rig.Boot(Shared);
        }

        _serial.Run("rm -f /mnt/*.com; sync");
        return (Shared, _serial);
    }

    /// <summary>The shared guest was ended, and is booted again for whoever needs it next.</summary>
    public void Ended()
    {
        Rig.TryVirsh("destroy", Shared);
        _serial?.Dispose();
        _serial = null;
    }

    public string[] Disks(string name, string format = "qcow2")
    {
        foreach (string disk in (string[])["a", "b"])
        {
            string to = Path.Combine(Rig.Images, $"{name}-{disk}.{format}");
            Tool.Run("qemu-img", "convert", "-q", "-f", "qcow2", "-O", format, Path.Combine(Rig.Images, disk + ".qcow2"), to);
        }

        return [$"{name}-a.{format}", $"{name}-b.{format}"];
    }

    /// <summary>Nothing of ours is left of a guest: no job, no checkpoint, no overlay, no scratch file, no socket, no lease.</summary>
    /// <param name="lease">Key of the lease that a scan was killed with.</param>
    public void AssertNothingLeft(string name, string? lease = null)
    {
        foreach (string xml in (string[])[Rig.Virsh("dumpxml", name), Rig.Virsh("dumpxml", "--inactive", name)])
        {
            Assert.DoesNotContain("vmsweep", xml.Replace(Rig.Folder, "", StringComparison.Ordinal), StringComparison.Ordinal);
        }

        // A VM that is off has no jobs.
        (int status, byte[] job, string refused) = Rig.TryVirsh("domjobinfo", name);
        Assert.Contains(status == 0 ? "None" : "not running", System.Text.Encoding.UTF8.GetString(job) + refused, StringComparison.Ordinal);
        Assert.Equal("", Rig.Virsh("checkpoint-list", name, "--name").Trim());
        Assert.Equal("", Rig.Virsh("snapshot-list", name, "--name").Trim());
        Assert.DoesNotContain(Directory.GetFiles(Rig.Images), f => Path.GetFileName(f).Contains("vmsweep", StringComparison.Ordinal));
        Assert.Empty(Directory.GetFileSystemEntries(Rig.Views));
        _leases.AssertNoView(Rig.Views, lease);
        Assert.Empty(Directory.Exists(Path.Combine(State, "leases")) ? Directory.GetFiles(Path.Combine(State, "leases"), "*.json") : []);
    }

    /// <summary>The guest is ended, and its file system has no fault after its journal was replayed.</summary>
    public void AssertFileSystemSound(string name, string format = "qcow2")
    {
        Rig.TryVirsh("destroy", name);
        if (name == Shared)
        {
            Ended();
        }

        AssertImageSound(Path.Combine(Rig.Images, $"{name}-a.{format}"), format);
    }

    /// <summary>The same of a first disk that nobody uses any more.</summary>
    internal static void AssertImageSound(string image, string format = "qcow2")
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            export PATH=$PATH:/usr/sbin:/sbin
            qemu-img check -q -f {format} {image} || [ {format} = raw ]
            qemu-img convert -f {format} -O raw {image} disk.raw
            dd if=disk.raw of=fs bs=1M skip=1 status=none
            truncate -s {RunningGuest.DiskBytes - (2 * RunningGuest.PartitionOffset)} fs
            e2fsck -p fs || [ $? = 1 ]
            e2fsck -f -n fs
            """,
            scratch.Folder);
    }

    /// <param name="method">How it is viewed; null for the first way that works.</param>
    /// <param name="change">Of the connector's settings.</param>
    internal IReadOnlyList<Vm> Find(string name, string? method, Func<ConnectorSettings, ConnectorSettings>? change = null, TimeProvider? time = null)
    {
        ConnectorSettings lab = ApplianceConfiguration.Read(Configuration).Connectors["lab"];
        lab = method is null ? lab : lab with { Address = new Uri(lab.Address + "&view=" + method) };
        var settings = new ApplianceConfiguration(new Dictionary<string, ConnectorSettings> { ["lab"] = change?.Invoke(lab) ?? lab });
        var catalog = new ConnectorCatalog(settings, time ?? TimeProvider.System);
        Assert.True(catalog.TryFind("lab/" + name, new ViewRequest(new LeaseJournal(Path.Combine(State, "leases"), TimeProvider.System), []), out IReadOnlyList<Vm>? vms));
        return vms;
    }

    /// <summary>Scans with the real sandbox; something happens when the view is open and before its bytes are read.</summary>
    internal Report ScanWith(string name, string? method, Action meanwhile, Func<ConnectorSettings, ConnectorSettings>? change = null, TimeProvider? time = null)
    {
        return ScanWith(Assert.Single(Find(name, method, change, time)), meanwhile, time ?? TimeProvider.System);
    }

    internal static Report ScanWith(Vm vm, Action meanwhile, TimeProvider time)
    {
        Vm interrupted = vm with
        {
            Open = () =>
            {
                IVmView view = vm.Open!();
                meanwhile();
                return view;
            },
        };
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        ScanSettings settings = Hostile.HostileScan.Settings with { RuleSources = [], WithBuiltin = true };
        using var events = new StringWriter();
        return new ScanRun(settings, sandbox, new WorkerProcess(sandbox.WorkerStart, ScanRun.Silence), time, new NdjsonListener(events), TestContext.Current.CancellationToken).Run([interrupted]);
    }

    public void Dispose()
    {
        _serial?.Dispose();
        if (_rig.IsValueCreated)
        {
            _rig.Value.Dispose();
        }

        _leases.Dispose();
        _state.Dispose();
    }
}
