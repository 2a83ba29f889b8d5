using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.Inventory;

/// <summary>The ownership graph of a datastore of ten thousand VMs beside reading the first 512 bytes of each of its files.</summary>
internal static class DatastoreBenchmark
{
    private const int Bases = 10;
    private const int FilesOfVm = 5;

    /// <summary>True when the graph is whole.</summary>
    public static bool Run(string work, int vms, int rounds)
    {
        string root = Path.Combine(work, FormattableString.Invariant($"datastore-{vms}"));
        if (!File.Exists(root + ".made"))
        {
            Make(root, vms);
            File.WriteAllText(root + ".made", "");
        }

        using var scratch = new Scratch();
        string launcher = Path.Combine(Repository.Root, "vmsweep");
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"\nInventory: {vms} VMs, {(vms * FilesOfVm) + Bases} files"));
        Rounds costs = Rounds.Run(
        [
            new("find | head -c 512", [], () => Measured.Script("find \"$1\" -type f -print0 | xargs -0 head -qc 512 > /dev/null", [root])),
            new("vmsweep inventory", [], () => Measured.Script("\"$1\" inventory \"$2\" --base \"$2/bases\" --format json --out \"$3\"", [launcher, root, scratch["graph.json"]])),
        ], rounds);
        costs.Print("find | head -c 512");

        using var report = JsonDocument.Parse(File.ReadAllBytes(scratch["graph.json"]));
        JsonElement counts = report.RootElement.GetProperty("graph").GetProperty("counts");
        bool isWhole = counts.GetProperty("vms").GetInt32() == vms && counts.GetProperty("bases").GetInt32() == Bases && counts.GetProperty("missing").GetInt32() == 0 && counts.GetProperty("orphans").GetInt32() == 0;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {costs.Seconds("vmsweep inventory"):0.0} s; {counts}; {(isWhole ? "whole" : "NOT WHOLE")}"));
        return isWhole;
    }

    private static void Make(string root, int vms)
    {
        if (Directory.Exists(root))
        {
            Directory.Delete(root, recursive: true);
        }

        Directory.CreateDirectory(Path.Combine(root, "bases"));
        for (int i = 0; i < Bases; i++)
        {
            File.WriteAllBytes(Path.Combine(root, "bases", FormattableString.Invariant($"golden{i}.qcow2")), Qcow2(""));
        }

        for (int i = 0; i < vms; i++)
        {
            string name = FormattableString.Invariant($"vm{i:D5}");
            string folder = Path.Combine(root, FormattableString.Invariant($"part{i / 500:D2}"), name);
            Directory.CreateDirectory(folder);
            if (i % 2 == 0)
            {
                Vmware(folder, name);
            }
            else
            {
                Clone(folder, name, FormattableString.Invariant($"golden{i / 2 % Bases}.qcow2"));
            }
        }
    }

    /// <summary>A VM with one snapshot: configuration, tree, base with its extent, delta.</summary>
    private static void Vmware(string folder, string name)
    {
        Write("vmx", $"config.version = \"8\"\ndisplayName = \"{name}\"\nguestOS = \"windows9-64\"\nscsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"{name}-000001.vmdk\"\n" + string.Concat(Enumerable.Range(0, 60).Select(n => FormattableString.Invariant($"pciBridge{n}.present = \"TRUE\"\n"))));
        Write("vmsd", $"snapshot.current = \"1\"\nsnapshot0.uid = \"1\"\nsnapshot0.displayName = \"before\"\nsnapshot0.disk0.fileName = \"{name}.vmdk\"\nsnapshot0.disk0.node = \"scsi0:0\"\n");
        Write("vmdk", $"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"{name}-flat.vmdk\" 0\n");
        File.WriteAllText(Path.Combine(folder, name + "-000001.vmdk"), $"# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=fffffffe\ncreateType=\"monolithicFlat\"\nparentFileNameHint=\"{name}.vmdk\"\nRW 2048 ZERO\n");
        using FileStream flat = File.Create(Path.Combine(folder, name + "-flat.vmdk"));
        flat.SetLength(1 << 20);

        void Write(string extension, string text) => File.WriteAllText(Path.Combine(folder, name + "." + extension), text);
    }

    /// <summary>A linked clone of a golden image, with an overlay over its own, and logs.</summary>
    private static void Clone(string folder, string name, string golden)
    {
        File.WriteAllText(Path.Combine(folder, "domain.xml"), $"<domain type='kvm'><name>{name}</name><devices><disk type='file' device='disk'><driver type='qcow2'/><source file='{name}-2.qcow2'/></disk></devices></domain>");
        File.WriteAllBytes(Path.Combine(folder, name + "-1.qcow2"), Qcow2(golden));
        File.WriteAllBytes(Path.Combine(folder, name + "-2.qcow2"), Qcow2(name + "-1.qcow2"));
        File.WriteAllText(Path.Combine(folder, "qemu.log"), "started\n");
        File.WriteAllText(Path.Combine(folder, "console.log"), "booted\n");
    }

    /// <summary>An empty image of two clusters of 512 bytes.</summary>
    private static byte[] Qcow2(string backing)
    {
        byte[] image = new byte[1024];
        BinaryPrimitives.WriteUInt32BigEndian(image, 0x5146_49FB);
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(4), 2);
        if (backing.Length > 0)
        {
            BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(8), 104);
            BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(16), (uint)backing.Length);
            Encoding.ASCII.GetBytes(backing).CopyTo(image, 104);
        }

        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(20), 9);
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(24), 32 << 10);
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(36), 1);
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(40), 512);
        return image;
    }
}
