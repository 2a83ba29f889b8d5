using System.Security.Cryptography;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Xen;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>One stand-in of a pool for all tests of this collection, which run one after the other.</summary>
[CollectionDefinition(Name)]
public sealed class XenCollection : ICollectionFixture<XenFixture>
{
    public const string Name = "xen";
}

public sealed class XenFixture : IDisposable
{
    private readonly Lazy<XenRig> _rig;
    private readonly Scratch _scratch = new();

    public XenFixture() => _rig = new(() =>
    {
        Full = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar, ["hello.txt"] = "hello" });
        byte[] bytes = new byte[SmallBytes];
        foreach ((int at, int count) in ((int, int)[])[(0, 70_000), (1 << 20, 500_000), (SmallBytes - 5000, 5000)])
        {
            RandomNumberGenerator.Fill(bytes.AsSpan(at, count));
        }

        File.WriteAllBytes(Small, bytes);
        return new XenRig();
    });

    public XenRig Rig => _rig.Value;

    public const int SmallBytes = 4 << 20;

    /// <summary>What the VM's disk holds.</summary>
    public string Raw { get; private set; } = "";

    /// <summary>A disk with file systems and what is to be found.</summary>
    public string Full { get; private set; } = "";

    /// <summary>Some bytes and some zeros, for what needs no guest.</summary>
    private string Small => _scratch["small.raw"];

    public string State => _scratch["state"];

    public string Views => _scratch["v"];

    public string Spool => Directory.CreateDirectory(_scratch["spool"]).FullName;

    /// <summary>The rig as every test finds it: one VM, and nothing is armed.</summary>
    /// <param name="isFull">With a guest's disk.</param>
    public XenRig Fresh(string power = "Running", bool isFull = false)
    {
        XenRig rig = Rig;
        Raw = isFull ? Full : Small;
        rig.Reset(Raw, power);
        foreach (string left in (string[])[State, Views, Spool])
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
    public string Configuration(string more = "", string? secret = null, string? address = null)
    {
        File.WriteAllText(_scratch["secret"], secret ?? XenRig.Password);
        File.SetUnixFileMode(_scratch["secret"], UnixFileMode.UserRead | UnixFileMode.UserWrite);
        string trust = more.Contains("\"certificate\"", StringComparison.Ordinal) || more.Contains("\"ca\"", StringComparison.Ordinal) ? "" : $", \"certificate\": \"{Rig.Fingerprint}\"";
        File.WriteAllText(_scratch["c.json"], $$"""{ "connectors": { "lab": { "address": "xapi://{{address ?? Rig.Address}}", "account": "{{XenRig.Account}}", "secret": { "file": "{{_scratch["secret"]}}" }, "views": "{{Views}}"{{trust}}{{more}} } } }""");
        return _scratch["c.json"];
    }

    public string[] Options(string more = "") => ["--config", Configuration(more), "--state", State];

    internal XenConnector Connector(string more = "", string? secret = null, string? address = null) =>
        (XenConnector)new ConnectorCatalog(ApplianceConfiguration.Read(Configuration(more, secret, address)), TimeProvider.System).Open("lab");

    internal LeaseJournal Journal => new(Path.Combine(State, "leases"), TimeProvider.System);

    /// <summary>A view of the VM, opened in this process.</summary>
    internal IVmView Open(XenConnector connector, string name = XenRig.Machine)
    {
        InventoryVm vm = connector.List().Single(v => v.Name == name);
        return connector.Target(vm, "lab/" + name, new ViewRequest(Journal, [])).Open!();
    }

    internal IVmView OpenTracked(XenConnector connector, string? since)
    {
        InventoryVm vm = connector.List().Single(v => v.Name == XenRig.Machine);
        return connector.Target(vm, "lab/" + XenRig.Machine, new ViewRequest(Journal, [])).OpenTracked!(since);
    }

    /// <summary>A disk of a view holds what the VM's disk holds.</summary>
    internal void AssertContent(IVmView view, int disk = 0)
    {
        using var chain = new ChainOpener(view.Vm.Disks[disk].Plan, new ReadContext(new ScanBudget(256 << 20), new GapList()));
        using DiskReaders.Containers.VirtualDisk opened = chain.OpenDisk();
        byte[] raw = File.ReadAllBytes(Raw), read = new byte[raw.Length];
        Assert.Equal(raw.Length, opened.Content.Length);
        opened.Content.Read(0, read);
        Assert.Equal(SHA256.HashData(raw), SHA256.HashData(read));
    }

    /// <summary>Nothing of ours is left: no snapshot, no disk of one, no session, no socket, no spool, no lease; and no live disk was read.</summary>
    public void AssertNothingLeft(bool sessions = false)
    {
        (string[] snapshots, string[] disks) = Rig.Left();
        Assert.Empty(snapshots);
        Assert.Empty(disks);
        Assert.Empty(Rig.ReadLive);
        Assert.Empty(Directory.Exists(Views) ? Directory.GetFileSystemEntries(Views) : []);
        Assert.Empty(Directory.GetFileSystemEntries(Spool));
        Assert.Empty(Directory.Exists(Path.Combine(State, "leases")) ? Directory.GetFiles(Path.Combine(State, "leases"), "*.json") : []);
        Assert.True(!sessions || Rig.Sessions == 0, $"{Rig.Sessions} sessions");
    }

    public void Dispose()
    {
        if (_rig.IsValueCreated)
        {
            _rig.Value.Dispose();
        }

        _scratch.Dispose();
    }
}
