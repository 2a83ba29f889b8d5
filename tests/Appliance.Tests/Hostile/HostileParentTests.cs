using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Tests.Containers.Parallels;
using Vmsweep.DiskReaders.Tests.Containers.Qcow2;
using Vmsweep.DiskReaders.Tests.Containers.Vdi;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>
/// Backing files, data files, locators and identities that lead to the host or to another tenant, for each format that can name a file.
/// CVE-2024-32498, CVE-2015-5163, CVE-2015-1850; VMDK and VHDX stand in <see cref="HostileReferenceTests"/>.
/// </summary>
public sealed class HostileParentTests
{
    private const uint DataFile = 0x4441_5441;

    private static readonly Guid Parent = new("11111111-2222-3333-4444-555555555555");

    public static TheoryData<string, bool> Names() => new()
    {
        { "/etc/shadow", true },
        { "/proc/self/environ", true },
        { "/dev/zero", true },
        { "../other/base", true },
        { "..\\other\\base", true },
        { "folderlink/base", true },
        { "link", true },
        { "fifo", true },
        { ".", true },
        { "..", true },
        { "\\\\server\\share\\base", false },
        { "C:\\Windows\\base", false },
        { "nbd://127.0.0.1:10809/base", false },
        { "ssh://root@host/base", false },
        { "base", false },
    };

    [Theory]
    [MemberData(nameof(Names))]
    [InlineData("json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", false)]
    public void A_qcow2_backing_file_elsewhere_is_never_opened(string name, bool isForbidden)
    {
        AssertAlone("disk.qcow2", new Qcow2Writer { Backing = name }.Build(), name.StartsWith("json:", StringComparison.Ordinal) || isForbidden ? "refused" : "missing-parent", isForbidden);
        AssertAlone("disk.qcow2", new Qcow2Writer { Version = 2, Backing = name }.Build(), name.StartsWith("json:", StringComparison.Ordinal) || isForbidden ? "refused" : "missing-parent", isForbidden);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_qcow2_data_file_elsewhere_is_never_opened(string name, bool isForbidden)
    {
        bool isRefused = isForbidden || name.StartsWith('\\') || name.StartsWith('C');
        AssertAlone("disk.qcow2", new Qcow2Writer { Features = 4 }.Extension(DataFile, name).Build(), isRefused ? "refused" : "missing-parent", isRefused);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_VHD_parent_elsewhere_is_never_opened_whatever_names_it(string name, bool isForbidden)
    {
        string fault = isForbidden ? "refused" : "missing-parent";
        AssertAlone("disk.vhd", new VhdWriter { ParentId = Parent, ParentName = name }.Build(), fault, isForbidden);
        foreach (string code in (string[])["W2ru", "W2ku", "Wi2r", "Wi2k", "MacX"])
        {
            byte[] data = code[..2] == "W2" ? Encoding.Unicode.GetBytes(name) : Encoding.Latin1.GetBytes(name);
            AssertAlone("disk.vhd", new VhdWriter { ParentId = Parent, ParentName = "base", Locators = [(code, data)] }.Build(), fault, isForbidden);
        }

        // Xen's mark for a raw parent opens no more than any other.
        AssertAlone("disk.vhd", new VhdWriter { Creator = "tap\0", ParentId = Guid.Empty, ParentName = name }.Build(), fault, isForbidden);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void An_image_of_a_Parallels_disk_elsewhere_is_never_opened(string name, bool isForbidden)
    {
        // What is absolute on another machine may lie beside the descriptor under its last name, and is refused where it does not.
        bool isRefused = isForbidden || name.StartsWith('\\') || name.StartsWith('C');
        foreach (string type in (string[])["Plain", "Compressed"])
        {
            string xml = ParallelsWriter.Descriptor(64, [(0, 64, [(Parent, type, name)])], [], Parent);
            AssertAlone("DiskDescriptor.xml", Encoding.UTF8.GetBytes(xml), isRefused ? "refused" : "missing-parent", isRefused);
        }
    }

    [Fact]
    public void A_VDI_parent_of_another_tenant_is_never_opened_for_its_UUID()
    {
        using Scratch scratch = Tenants();
        File.WriteAllBytes(scratch["other/base.vdi"], new VdiWriter { Id = Parent }.Build());
        File.CreateSymbolicLink(scratch["vm/linked.vdi"], scratch["other/base.vdi"]);
        Directory.CreateSymbolicLink(scratch["vm/Snapshots"], scratch["other"]);
        Tool.Run("mkfifo", scratch["vm/fifo.vdi"]);
        AssertAlone(scratch, "disk.vdi", new VdiWriter { Type = 4, Parent = Parent }.Build(), "missing-parent", false);
    }

    [Fact]
    public void Circles_and_parents_of_another_identity_end_in_every_format()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["a.qcow2"], new Qcow2Writer { Backing = "b.qcow2" }.Build());
        File.WriteAllBytes(scratch["b.qcow2"], new Qcow2Writer { Backing = "a.qcow2" }.Build());
        File.WriteAllBytes(scratch["a.vhd"], new VhdWriter { Id = Parent, ParentId = Parent, ParentName = "a.vhd" }.Build());
        File.WriteAllBytes(scratch["c.vhd"], new VhdWriter { ParentId = Guid.NewGuid(), ParentName = "a.vhd" }.Build());
        File.WriteAllBytes(scratch["a.vdi"], new VdiWriter { Id = Parent, Type = 4, Parent = Parent }.Build());
        File.WriteAllText(scratch["DiskDescriptor.xml"], ParallelsWriter.Descriptor(64, [(0, 64, [(Parent, "Compressed", "a.hds")])], [(Parent, Parent)], Parent));
        File.WriteAllBytes(scratch["a.hds"], new ParallelsWriter().Build());
        ScanResult result = HostileScan.Folder(scratch);
        result.Gap("corrupt", "a.qcow2");
        result.Gap("corrupt", "a.vhd");
        result.Gap("corrupt", "a.vdi");
        result.Gap("corrupt", "DiskDescriptor.xml");
        Assert.Equal(3, result.Status);
    }

    private static Scratch Tenants()
    {
        var scratch = new Scratch();
        Tool.Shell("mkdir vm other; head -c 8192 /dev/urandom > other/base; ln -s /etc/shadow vm/link; ln -s ../other vm/folderlink; mkfifo vm/fifo", scratch.Folder);
        return scratch;
    }

    private static void AssertAlone(string name, byte[] image, string fault, bool isFinding)
    {
        using Scratch scratch = Tenants();
        AssertAlone(scratch, name, image, fault, isFinding);
    }

    private static void AssertAlone(Scratch scratch, string name, byte[] image, string fault, bool isFinding)
    {
        string path = scratch["vm/" + name];
        File.WriteAllBytes(path, image);
        ScanResult result = HostileScan.Targets(path);
        VmDisk disk = InProcess.Disk(path);
        Assert.Single(disk.Plan.Files);
        result.Gap(fault, name);
        Assert.Equal(isFinding ? 1 : 3, result.Status);
    }
}
