using System.Buffers.Binary;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.Golden;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>Tests of this collection have one real disk, and run one after the other.</summary>
[CollectionDefinition(Name)]
public sealed class HyperVCollection : ICollectionFixture<HyperVFixture>
{
    public const string Name = "hyperv";
}

public sealed class HyperVFixture : IDisposable
{
    public const string Machine = "web01";
    public const string Disk = HyperVRig.Volume + @"\VMs\web01\web01.vhdx";

    private readonly Scratch _scratch = new();
    private readonly Lazy<HyperVRig> _rig;

    public HyperVFixture() => _rig = new(() =>
    {
        var rig = new HyperVRig(Overlay, "HV1", "HV2");
        Raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["x.com"] = TestDisks.Eicar, ["hello.txt"] = "hello" });
        Original = File.ReadAllBytes(Raw);
        return rig;
    });

    public HyperVRig Rig => _rig.Value;

    /// <summary>What the VM's disk holds.</summary>
    public string Raw { get; private set; } = "";

    public byte[] Original { get; private set; } = [];

    public string State => _scratch["state"];

    public string this[string name] => _scratch[name];

    /// <summary>The world as every test finds it: one VM, on the first node.</summary>
    public HyperVMachine Fresh(string state = "2")
    {
        Rig.Reset();
        Rig.Clear();
        if (Directory.Exists(State))
        {
            // Of a test that failed.
            Directory.Delete(State, recursive: true);
        }

        HyperVMachine machine = Rig.Add(Machine, "HV1", Disk);
        machine.State = state;

        // What the guest writes after the checkpoint: its partition table is gone then.
        machine.Next = (0, new byte[64 << 10]);
        string folder = Path.GetDirectoryName(Rig.FileOf(Disk))!;
        Directory.CreateDirectory(folder);
        foreach (string overlay in Directory.GetFiles(folder, "*.avhdx"))
        {
            File.Delete(overlay);
        }

        SetDisk(Original);
        return machine;
    }

    /// <summary>Gives the VM's disk other content.</summary>
    public void SetDisk(byte[] raw)
    {
        if (!File.Exists(Rig.FileOf(Disk)) || !File.ReadAllBytes(Raw).AsSpan().SequenceEqual(raw))
        {
            File.WriteAllBytes(Raw, raw);
            Tool.Run("qemu-img", "convert", "-f", "raw", "-O", "vhdx", Raw, Rig.FileOf(Disk));
        }
    }

    /// <param name="more">Members of the connector, each with a comma before it.</param>
    public string Configuration(string more = "", string? secret = null)
    {
        File.WriteAllText(_scratch["secret"], secret ?? HyperVRig.Password);
        File.SetUnixFileMode(_scratch["secret"], UnixFileMode.UserRead | UnixFileMode.UserWrite);
        string trust = more.Contains("\"certificate\"", StringComparison.Ordinal) || more.Contains("\"ca\"", StringComparison.Ordinal) ? "" : $", \"certificate\": \"{Rig.Fingerprint}\"";
        string paths = more.Contains("\"paths\"", StringComparison.Ordinal) ? "" : $$""", "paths": { "C:\\ClusterStorage\\Volume1": "{{Rig.Storage}}" }""";
        string account = more.Contains("\"authentication\"", StringComparison.Ordinal) ? "" : $", \"account\": \"{HyperVRig.Account}\", \"authentication\": \"basic\"";
        string address = more.Contains("\"address\"", StringComparison.Ordinal) ? "" : $"\"address\": \"hyperv://{Rig.AddressOf("HV1")}\"";
        File.WriteAllText(_scratch["c.json"], $$"""{ "connectors": { "lab": { {{address}}{{(address.Length > 0 ? "" : more.TrimStart(',', ' '))}}{{account}}, "secret": { "file": "{{_scratch["secret"]}}" }, "nodes": { "HV1": "{{Rig.AddressOf("HV1")}}", "HV2": "{{Rig.AddressOf("HV2")}}" }{{trust}}{{paths}}{{(address.Length > 0 ? more : "")}} } } }""");
        return _scratch["c.json"];
    }

    public string[] Options(string more = "") => ["--config", Configuration(more), "--state", State];

    internal HyperVConnector Connector(string more = "", string? secret = null) =>
        (HyperVConnector)new ConnectorCatalog(ApplianceConfiguration.Read(Configuration(more, secret)), TimeProvider.System).Open("lab");

    internal LeaseJournal Journal => new(Path.Combine(State, "leases"), TimeProvider.System);

    /// <summary>A view of the VM, opened in this process.</summary>
    internal IVmView Open(HyperVConnector connector, string name = Machine)
    {
        InventoryVm vm = connector.List().Single(v => v.Name == name);
        return connector.Target(vm, "lab/" + name, new ViewRequest(Journal, [])).Open!();
    }

    /// <summary>Nothing of ours is left: no checkpoint, no overlay, no reference point, no lease; the VM is as it was.</summary>
    public void AssertNothingLeft(params string[] disks)
    {
        HyperVMachine machine = Rig.Machines.Single(m => m.Name == Machine);
        lock (Rig.World)
        {
            Assert.DoesNotContain(machine.Checkpoints, c => c.IsRecovery);
            Assert.Empty(machine.References);
            Assert.Equal(disks.DefaultIfEmpty(Disk), machine.Disks);
        }

        // A link that a test laid leads to the same files again.
        var here = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };
        Assert.Equal(disks.Count(d => d.EndsWith(".avhdx", StringComparison.Ordinal)), Directory.GetFiles(Rig.Storage, "*.avhdx", here).Length);
        Assert.Empty(Directory.Exists(Path.Combine(State, "leases")) ? Directory.GetFiles(Path.Combine(State, "leases"), "*.json") : []);
    }

    public void Dispose()
    {
        if (_rig.IsValueCreated)
        {
            _rig.Value.Dispose();
        }

        _scratch.Dispose();
    }

    /// <summary>A differencing disk over another, as [MS-VHDX] has it: known by the identity that the parent has now.</summary>
    private static void Overlay(string parent, string parentPath, string overlay, long offset, byte[] bytes)
    {
        byte[] head = new byte[VhdxWriter.RegionsAt];
        using (FileStream file = File.OpenRead(parent))
        {
            file.ReadExactly(head);
        }

        int at = BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(VhdxWriter.HeaderAt + 8)) > BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(VhdxWriter.SecondHeaderAt + 8)) ? VhdxWriter.HeaderAt : VhdxWriter.SecondHeaderAt;
        var writer = new VhdxWriter
        {
            DiskBytes = 48 << 20,
            Parent =
            [
                ("parent_linkage", new Guid(head.AsSpan(at + 32, 16)).ToString("B")),
                ("relative_path", @".\" + parentPath.Split('\\')[^1]),
                ("absolute_win32_path", parentPath),
            ],
        };
        if (bytes.Length > 0)
        {
            long block = offset / writer.BlockBytes;
            byte[] content = new byte[writer.BlockBytes];
            int within = (int)(offset % writer.BlockBytes);
            bytes.CopyTo(content, within);
            writer.Partial(block, content, sector => sector >= within / 512 && sector < (within + bytes.Length) / 512);
        }

        File.WriteAllBytes(overlay, writer.Build());
    }
}
