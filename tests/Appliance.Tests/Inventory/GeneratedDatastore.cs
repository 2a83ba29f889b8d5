using System.Text;
using Vmsweep.Appliance.Inventory;
using Vmsweep.Appliance.Tests.Connectors;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>What is true of a file of a generated datastore.</summary>
/// <param name="Owners">Names of VMs.</param>
/// <param name="Parent">The image it was made over; null for a base.</param>
internal sealed record FileTruth(FileState State, IReadOnlySet<string> Owners, string? Parent);

/// <summary>
/// A datastore of a hundred VMs of every kind, a provisioning store, a storage repository of Xen, orphans, leftovers and damage, with the truth about every
/// file of it. Images are tiny; what qemu-img can make it makes.
/// </summary>
internal sealed class GeneratedDatastore
{
    private readonly Scratch _scratch;
    private readonly StringBuilder _script = new("set -e\nimg() { qemu-img create -q \"$@\" 1M; }\n");

    public GeneratedDatastore(Scratch scratch)
    {
        _scratch = scratch;
        LinkedClones();
        Plain();
        WithSnapshots();
        Suspended();
        Flat();
        VirtualBox();
        HyperV();
        VirtualPc();
        Packages();
        Provisioned();
        Twins();
        NoVms();
        Tool.Shell(_script.ToString(), scratch.Folder);
        Late();
    }

    /// <summary>Folders that are declared.</summary>
    public IReadOnlyList<string> Bases => [_scratch["base"], _scratch["mcs/cat-baseDisk-store-7"]];

    public Dictionary<string, FileTruth> Files { get; } = new(StringComparer.Ordinal);

    public HashSet<string> Vms { get; } = new(StringComparer.Ordinal);

    /// <summary>What is scanned without a VM.</summary>
    public Dictionary<string, MachineKind> Alone { get; } = new(StringComparer.Ordinal);

    public HashSet<(string From, string Name)> Missing { get; } = [];

    public string Root => _scratch.Folder;

    private void LinkedClones()
    {
        Do("mkdir -p base; img -f qcow2 base/golden.qcow2");
        string[] clones = [.. Enumerable.Range(0, 20).Select(i => FormattableString.Invariant($"clone{i:D2}"))];
        foreach (string name in clones)
        {
            Do($"mkdir -p kvm/{name}; img -f qcow2 -u -b /srv/base/golden.qcow2 -F qcow2 kvm/{name}/disk.qcow2");
            Text($"kvm/{name}/domain.xml", $"<domain type='kvm'><name>{name}</name><devices><disk type='file' device='disk'><driver type='qcow2'/><source file='disk.qcow2'/></disk></devices></domain>");
            Vm(name, $"kvm/{name}/domain.xml");
            File($"kvm/{name}/disk.qcow2", FileState.Owned, [name], "base/golden.qcow2");
        }

        File("base/golden.qcow2", FileState.Shared, clones);
    }

    private void Plain()
    {
        foreach (string name in Names("plain", 15))
        {
            string folder = $"esx/{name}";
            bool runs = name is "plain01" or "plain02";
            Do($"mkdir -p {folder}; img -f vmdk {folder}/{name}.vmdk{(runs ? $"; mkdir {folder}/{name}.vmx.lck; touch {folder}/{name}.vmx.lck/M1.lck; echo x > {folder}/{name}.vmem" : "")}");
            Vmx(folder, name, $"{name}.vmdk", name == "plain00" ? "ide1:0.deviceType = \"cdrom-image\"\nide1:0.fileName = \"/vmfs/volumes/ds/iso/setup.iso\"" : "");
            File($"{folder}/{name}.vmdk", FileState.Owned, [name]);
            if (runs)
            {
                File($"{folder}/{name}.vmx.lck", FileState.Owned, [name]);
                File($"{folder}/{name}.vmem", FileState.Owned, [name]);
            }
        }

        Do("mkdir iso; head -c 100K /dev/zero | tee iso/setup.iso > iso/unused.iso");
        File("iso/setup.iso", FileState.Owned, ["plain00"]);
        File("iso/unused.iso", FileState.Orphan, []);
        Alone["iso/setup.iso"] = Alone["iso/unused.iso"] = MachineKind.Disc;
    }

    private void WithSnapshots()
    {
        foreach (string name in Names("snap", 15))
        {
            string disk = $"esx/{name}/{name}";
            Do($"mkdir -p esx/{name}; cd esx/{name}; img -f vmdk {name}.vmdk; for n in 1 2 3; do img -f vmdk -b {name}.vmdk -F vmdk {name}-00000$n.vmdk; done; cd ../..");
            Vmx($"esx/{name}", name, $"{name}-000001.vmdk");
            Text(disk + ".vmsd", $"""
                snapshot.current = "1"
                snapshot0.uid = "1"
                snapshot0.displayName = "before"
                snapshot0.disk0.fileName = "{name}.vmdk"
                snapshot0.disk0.node = "scsi0:0"
                snapshot1.uid = "2"
                snapshot1.parent = "1"
                snapshot1.displayName = "branch"
                snapshot1.disk0.fileName = "{name}-000003.vmdk"
                snapshot1.disk0.node = "scsi0:0"
                """);
            File(disk + ".vmsd", FileState.Owned, [name]);
            File(disk + ".vmdk", FileState.Owned, [name]);
            File(disk + "-000001.vmdk", FileState.Owned, [name], disk + ".vmdk");
            File(disk + "-000002.vmdk", FileState.Stale, [], disk + ".vmdk");
            File(disk + "-000003.vmdk", FileState.Owned, [name], disk + ".vmdk");
            Alone[disk + "-000002.vmdk"] = Alone[disk + "-000003.vmdk"] = MachineKind.Image;
        }
    }

    private void Suspended()
    {
        foreach (string name in Names("sleep", 5))
        {
            Do($"mkdir -p esx/{name}; img -f vmdk esx/{name}/{name}.vmdk; echo state > esx/{name}/{name}.vmss; echo state > esx/{name}/{name}-old.vmss");
            Vmx($"esx/{name}", name, $"{name}.vmdk", $"checkpoint.vmState = \"{name}.vmss\"");
            File($"esx/{name}/{name}.vmdk", FileState.Owned, [name]);
            File($"esx/{name}/{name}.vmss", FileState.Owned, [name]);
            File($"esx/{name}/{name}-old.vmss", FileState.Stale, []);
            Alone[$"esx/{name}/{name}-old.vmss"] = MachineKind.Memory;
        }
    }

    private void Flat()
    {
        foreach (string name in Names("flat", 5))
        {
            Do($"mkdir -p esx/{name}; img -f vmdk -o subformat=monolithicFlat esx/{name}/{name}.vmdk");
            Vmx($"esx/{name}", name, $"{name}.vmdk");
            File($"esx/{name}/{name}.vmdk", FileState.Owned, [name]);
            File($"esx/{name}/{name}-flat.vmdk", FileState.Owned, [name]);
        }
    }

    private void VirtualBox()
    {
        foreach (string name in Names("box", 10))
        {
            Do($"mkdir -p vbox/{name}; img -f vdi vbox/{name}/{name}.vdi");
            var id = Guid.NewGuid();
            Text($"vbox/{name}/{name}.vbox", $$"""
                <VirtualBox><Machine name="{{name}}" uuid="{{{Guid.NewGuid():D}}}"><MediaRegistry><HardDisks><HardDisk uuid="{{{id:D}}}" location="{{name}}.vdi"/></HardDisks></MediaRegistry>
                <StorageControllers><StorageController><AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{{{id:D}}}"/></AttachedDevice></StorageController></StorageControllers></Machine></VirtualBox>
                """);
            Vm(name, $"vbox/{name}/{name}.vbox");
            File($"vbox/{name}/{name}.vdi", FileState.Owned, [name]);
        }
    }

    private void HyperV()
    {
        foreach (string name in Names("hyper", 15))
        {
            string folder = $"hyperv/{name}";
            var id = Guid.NewGuid();
            bool isOld = string.CompareOrdinal(name, "hyper10") >= 0;
            string extension = isOld ? ".xml" : ".vmcx";
            Guid below = HyperVFolder.WriteDisk(_scratch[$"{folder}/Virtual Hard Disks/{name}.vhd"], []);
            HyperVFolder.WriteDisk(_scratch[$"{folder}/Virtual Hard Disks/{name}_a.avhd"], [], name + ".vhd", below);
            Action<string, List<(string, object)>> write = isOld ? HyperVFolder.WriteXml : HyperVFolder.WriteStore;
            string configuration = $"{folder}/Virtual Machines/{id:D}{extension}";
            string checkpoint = $"{folder}/Snapshots/{Guid.NewGuid():D}{extension}";
            string host = $@"D:\VMs\{name}\Virtual Hard Disks\";
            write(_scratch[configuration], HyperVFolder.Keys(id, name, 1, [host + name + "_a.avhd"]));
            write(_scratch[checkpoint], HyperVFolder.Keys(id, "before", 1, [host + name + ".vhd"]));
            Vm(name, configuration);
            File(checkpoint, FileState.Owned, [name]);
            File($"{folder}/Virtual Hard Disks/{name}.vhd", FileState.Owned, [name]);
            File($"{folder}/Virtual Hard Disks/{name}_a.avhd", FileState.Owned, [name], $"{folder}/Virtual Hard Disks/{name}.vhd");
            if (!isOld)
            {
                System.IO.File.WriteAllBytes(_scratch[Path.ChangeExtension(configuration, ".vmrs")], new HyperVStoreWriter().Add("configuration/properties/version", 0x0A00L).Build());
                File(Path.ChangeExtension(configuration, ".vmrs"), FileState.Owned, [name]);
            }
        }
    }

    private void VirtualPc()
    {
        foreach (string name in Names("pc", 5))
        {
            Do($"mkdir -p pc/{name}; img -f vpc pc/{name}/{name}.vhd");
            Text($"pc/{name}/{name}.vmc", $"""
                <preferences><hardware><pci_bus><ide_adapter><ide_controller id="0"><location id="0"><drive_type type="integer">1</drive_type><pathname><relative type="string">.\{name}.vhd</relative></pathname></location></ide_controller></ide_adapter></pci_bus></hardware></preferences>
                """);
            Vm(name, $"pc/{name}/{name}.vmc");
            File($"pc/{name}/{name}.vhd", FileState.Owned, [name]);
        }
    }

    private void Packages()
    {
        foreach (string name in Names("pack", 4))
        {
            Do($"mkdir -p ovf/{name}; img -f vmdk -o subformat=streamOptimized ovf/{name}/{name}-disk1.vmdk");
            Text($"ovf/{name}/{name}.ovf", OvfText.Of([("f", $"{name}-disk1.vmdk", "")], [("d", "f")], (name, ["ovf:/disk/d"])));
            Vm(name, $"ovf/{name}/{name}.ovf");
            File($"ovf/{name}/{name}-disk1.vmdk", FileState.Owned, [name]);
        }

        Text("archive/archived.ovf", OvfText.Of([("f", "archived.vmdk", "")], [("d", "f")], ("archived", ["ovf:/disk/d"])));
        Do("cd archive; img -f vmdk archived.vmdk; tar cf archived.ova archived.ovf archived.vmdk; rm archived.ovf archived.vmdk; cd ..");
        Vm("archived", "archive/archived.ova");
    }

    private void Provisioned()
    {
        const string Folder = "mcs/cat-baseDisk-store-7";
        Do($"mkdir -p {Folder}; img -f vmdk {Folder}/cat-baseDisk-store-7.vmdk");
        string[] desktops = [.. Names("desk", 5)];
        foreach (string name in desktops)
        {
            Do($"mkdir -p mcs/{name}; cd mcs/{name}; img -f vmdk -b ../cat-baseDisk-store-7/cat-baseDisk-store-7.vmdk -F vmdk {name}-xd-delta.vmdk; img -f vmdk {name}_IdentityDisk.vmdk; cd ../..");
            Vmx($"mcs/{name}", name, $"{name}-xd-delta.vmdk", $"scsi0:1.fileName = \"{name}_IdentityDisk.vmdk\"");
            File($"mcs/{name}/{name}-xd-delta.vmdk", FileState.Owned, [name], Folder + "/cat-baseDisk-store-7.vmdk");
            File($"mcs/{name}/{name}_IdentityDisk.vmdk", FileState.Owned, [name]);
        }

        File(Folder + "/cat-baseDisk-store-7.vmdk", FileState.Shared, desktops);

        Guid below = HyperVFolder.WriteDisk(_scratch["pvs/win11.vhd"], []);
        Guid first = HyperVFolder.WriteDisk(_scratch["pvs/win11.1.avhd"], [], "win11.vhd", below);
        HyperVFolder.WriteDisk(_scratch["pvs/win11.2.avhd"], [], "win11.1.avhd", first);
        Do("for n in win11 win11.1 win11.2; do echo x > pvs/$n.pvp; echo x > pvs/$n.lok; done; head -c 100K /dev/urandom > pvs/00155D010203.vdiskcache");
        string? over = null;
        foreach (string version in (string[])["win11.vhd", "win11.1.avhd", "win11.2.avhd"])
        {
            File("pvs/" + version, FileState.Orphan, [], over);
            Alone["pvs/" + version] = MachineKind.ProvisionedImage;
            File("pvs/" + Path.GetFileNameWithoutExtension(version) + ".pvp", FileState.Owned, []);
            File("pvs/" + Path.GetFileNameWithoutExtension(version) + ".lok", FileState.Owned, []);
            over = "pvs/" + version;
        }

        File("pvs/00155D010203.vdiskcache", FileState.Orphan, []);
        Alone["pvs/00155D010203.vdiskcache"] = MachineKind.WriteCache;
    }

    private void Twins()
    {
        Do("mkdir -p esx/twins; img -f vmdk esx/twins/one.vmdk");
        Vmx("esx/twins", "twin1", "one.vmdk");
        Vmx("esx/twins", "twin2", "one.vmdk");
        File("esx/twins/one.vmdk", FileState.Claimed, ["twin1", "twin2"]);
    }

    private void NoVms()
    {
        string[] ids = [.. Enumerable.Range(1, 3).Select(i => FormattableString.Invariant($"xen/0000000{i}-0000-4000-8000-000000000000.vhd"))];
        Guid below = HyperVFolder.WriteDisk(_scratch[ids[0]], []);
        File(ids[0], FileState.Orphan, []);
        foreach (string id in ids[1..])
        {
            HyperVFolder.WriteDisk(_scratch[id], [], Path.GetFileName(ids[0]), below);
            File(id, FileState.Orphan, [], ids[0]);
            Alone[id] = MachineKind.Image;
        }

        Do("mkdir lost; img -f qcow2 lost/a.qcow2; truncate -s 1M lost/b.raw; img -f qcow2 -u -b gone.qcow2 -F qcow2 lost/c.qcow2; mkdir lost/gone.vmdk.lck; touch lost/gone.vmdk.lck/M2.lck; seq 1 20000 > lost/notes; echo x > lost/readme");
        foreach (string name in (string[])["lost/a.qcow2", "lost/b.raw", "lost/c.qcow2"])
        {
            File(name, FileState.Orphan, []);
            Alone[name] = MachineKind.Image;
        }

        Missing.Add((_scratch["lost/c.qcow2"], "gone.qcow2"));
        File("lost/gone.vmdk.lck", FileState.Stale, []);

        // Two that name each other, which are both scanned, from the first.
        Do("mkdir round; img -f qcow2 -u -b two.qcow2 -F qcow2 round/one.qcow2; img -f qcow2 -u -b one.qcow2 -F qcow2 round/two.qcow2");
        File("round/one.qcow2", FileState.Orphan, [], "round/two.qcow2");
        File("round/two.qcow2", FileState.Orphan, [], "round/one.qcow2");
        Alone["round/one.qcow2"] = MachineKind.Image;
    }

    /// <summary>What names a file elsewhere, and is not let.</summary>
    private void Late()
    {
        Directory.CreateDirectory(_scratch["kvm/thief"]);
        Tool.Shell("qemu-img create -q -f qcow2 -u -b ../../lost/a.qcow2 -F qcow2 kvm/thief/disk.qcow2 1M", _scratch.Folder);
        Text("kvm/thief/domain.xml", "<domain type='kvm'><name>thief</name><devices><disk type='file' device='disk'><driver type='qcow2'/><source file='disk.qcow2'/></disk></devices></domain>");
        Vm("thief", "kvm/thief/domain.xml");
        File("kvm/thief/disk.qcow2", FileState.Owned, ["thief"]);
        Missing.Add((_scratch["kvm/thief/disk.qcow2"], "../../lost/a.qcow2"));
    }

    private static IEnumerable<string> Names(string stem, int count) => Enumerable.Range(0, count).Select(i => FormattableString.Invariant($"{stem}{i:D2}"));

    private void Do(string script) => _script.AppendLine(script);

    private void Vmx(string folder, string name, string disk, string more = "")
    {
        Text($"{folder}/{name}.vmx", $"config.version = \"8\"\ndisplayName = \"{name}\"\nscsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"{disk}\"\n{more}\n");
        Vm(name, $"{folder}/{name}.vmx");
    }

    private void Vm(string name, string configuration)
    {
        Vms.Add(name);
        File(configuration, FileState.Owned, [name]);
    }

    private void File(string name, FileState state, string[] owners, string? parent = null) =>
        Files.Add(_scratch[name], new FileTruth(state, owners.ToHashSet(), parent is null ? null : _scratch[parent]));

    private void Text(string name, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_scratch[name])!);
        System.IO.File.WriteAllText(_scratch[name], text);
    }
}
