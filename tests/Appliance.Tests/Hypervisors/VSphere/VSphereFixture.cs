using System.Security.Cryptography;
using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>One simulated vCenter for all tests of this collection, which run one after the other.</summary>
[CollectionDefinition(Name)]
public sealed class VSphereCollection : ICollectionFixture<VSphereFixture>
{
    public const string Name = "vsphere";
}

public sealed class VSphereFixture : IDisposable
{
    /// <summary>Names that have to be escaped in an address.</summary>
    public const string Disk = VSphereRig.Machine + "/a#b+c%20é &d.vmdk";

    private readonly Lazy<VSphereRig> _rig;
    private readonly Scratch _scratch = new();

    public VSphereFixture() => _rig = new(() =>
    {
        var rig = new VSphereRig("-machines", "2");
        Raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar, ["hello.txt"] = "hello" });
        rig.SetDisk(VSphereRig.Machine, Raw, Disk);
        return rig;
    });

    public VSphereRig Rig => _rig.Value;

    /// <summary>What the VM's disk holds.</summary>
    public string Raw { get; private set; } = "";

    public string State => _scratch["state"];

    public string Views => _scratch["v"];

    /// <summary>The rig as every test finds it: its VM runs, and nothing is armed.</summary>
    public VSphereRig Fresh(string power = "poweredOn")
    {
        Rig.Reset();
        Rig.Control("appliance", ("name", ""));
        Rig.Vm(VSphereRig.Machine, ("back", "1"), ("clear", "1"), ("plug", "1"), ("power", power), ("free", "100000000000"), ("type", "VMFS"), ("consolidate", "0"), ("keyId", ""));
        foreach (string left in (string[])[State, Views])
        {
            if (Directory.Exists(left))
            {
                // Of a test that failed.
                Directory.Delete(left, recursive: true);
            }
        }

        return Rig;
    }

    /// <param name="more">Members of the connector, each with a comma before it.</param>
    public string Configuration(string more = "", string? secret = null)
    {
        File.WriteAllText(_scratch["secret"], secret ?? VSphereRig.Password);
        File.SetUnixFileMode(_scratch["secret"], UnixFileMode.UserRead | UnixFileMode.UserWrite);
        string trust = more.Contains("\"certificate\"", StringComparison.Ordinal) || more.Contains("\"ca\"", StringComparison.Ordinal) ? "" : $", \"certificate\": \"{Rig.Fingerprint}\"";
        File.WriteAllText(_scratch["c.json"], $$"""{ "connectors": { "lab": { "address": "vsphere://{{Rig.Address}}", "account": "{{VSphereRig.Account}}", "secret": { "file": "{{_scratch["secret"]}}" }, "views": "{{Views}}"{{trust}}{{more}} } } }""");
        return _scratch["c.json"];
    }

    public string[] Options(string more = "") => ["--config", Configuration(more), "--state", State];

    internal VSphereConnector Connector(string more = "", string? secret = null, TimeProvider? time = null) =>
        (VSphereConnector)new ConnectorCatalog(ApplianceConfiguration.Read(Configuration(more, secret)), time ?? TimeProvider.System).Open("lab");

    internal LeaseJournal Journal => new(Path.Combine(State, "leases"), TimeProvider.System);

    /// <summary>A view of the VM, opened in this process.</summary>
    internal IVmView Open(VSphereConnector connector, string name = VSphereRig.Machine) => Target(connector, name).Open!();

    internal Vm Target(VSphereConnector connector, string name = VSphereRig.Machine) =>
        connector.Target(connector.List().Single(v => v.Name == name), "lab/" + name, new ViewRequest(Journal, []));

    /// <summary>Nothing of ours is left: no snapshot, no delta, no socket, no lease; the VM is as it was.</summary>
    public void AssertNothingLeft(string disk = Disk)
    {
        JsonElement vm = Rig.Vm(VSphereRig.Machine);
        Assert.Equal(JsonValueKind.Null, vm.GetProperty("snapshots").ValueKind);
        Assert.Equal("[LocalDS_0] " + disk, vm.GetProperty("disks")[0].GetString());
        Assert.DoesNotContain(Directory.GetFiles(Path.Combine(Rig.Datastore, VSphereRig.Machine)), f => f.Contains("-delta", StringComparison.Ordinal));
        JsonElement appliance = Rig.Control("appliance");
        Assert.Equal("""{"attached":null,"busy":0,"wrongs":null}""", appliance.GetRawText());
        Assert.Empty(Directory.Exists(Views) ? Directory.GetFileSystemEntries(Views) : []);
        Assert.Empty(Directory.Exists(Path.Combine(State, "leases")) ? Directory.GetFiles(Path.Combine(State, "leases"), "*.json") : []);
    }

    /// <summary>The first disk of a view is the VM's, byte for byte.</summary>
    internal void AssertContent(IVmView view)
    {
        var context = new ReadContext(new ScanBudget(256 << 20), new GapList());
        using var chain = new ChainOpener(view.Vm.Disks[0].Plan, context);
        using DiskReaders.Containers.VirtualDisk disk = chain.OpenDisk();
        byte[] raw = File.ReadAllBytes(Raw), read = new byte[raw.Length];
        Assert.Equal(raw.Length, disk.Content.Length);
        disk.Content.Read(0, read);
        Assert.Equal(SHA256.HashData(raw), SHA256.HashData(read));
    }

    public void Dispose()
    {
        using (_scratch)
        {
            if (_rig.IsValueCreated)
            {
                using VSphereRig rig = _rig.Value;

                // Its disks are devices of this machine.
                rig.Control("appliance", ("name", ""));
            }
        }
    }
}
