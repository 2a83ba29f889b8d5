using Vmsweep.DiskReaders.Tests.Containers;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>Images that name files of the host or of another tenant. CVE-2022-47951, CVE-2024-32498, CVE-2015-5163.</summary>
public sealed class HostileReferenceTests
{
    /// <summary>A tenant's folder <c>vm</c> beside another's, with a link, a FIFO and a socket in it.</summary>
    private static Scratch Tenants()
    {
        var scratch = new Scratch();
        Tool.Shell("""
            mkdir vm other; head -c 8192 /dev/urandom > other/x.raw; cp other/x.raw vm/own.bin
            ln -s /etc/shadow vm/link.bin; ln -s ../other vm/folderlink; ln -s own.bin vm/innerlink.bin; mkfifo vm/fifo.bin; mkdir vm/folder.bin
            perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("vm/socket.bin")) or die'
            """, scratch.Folder);
        return scratch;
    }

    private static (ScanResult Result, VmDisk Disk) Scan(Scratch scratch, string name, byte[] image)
    {
        string path = scratch["vm/" + name];
        File.WriteAllBytes(path, image);
        ScanResult result = HostileScan.Targets(path);
        return (result, InProcess.Disk(path));
    }

    [Theory]
    [InlineData("/etc/shadow")]
    [InlineData("/dev/zero")]
    [InlineData("/dev/loop0")]
    [InlineData("/proc/self/environ")]
    [InlineData("../other/x.raw")]
    [InlineData("../vm/../other/x.raw")]
    [InlineData("..\\other\\x.raw")]
    [InlineData("folderlink/x.raw")]
    [InlineData("link.bin")]
    [InlineData("innerlink.bin")]
    [InlineData("fifo.bin")]
    [InlineData("socket.bin")]
    [InlineData("folder.bin")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("own.bin/")]
    [InlineData("//server/share/x.raw")]
    [InlineData("\\\\server\\share\\x.raw")]
    [InlineData("C:\\x.raw")]
    [InlineData("/vmfs/volumes/other/x.raw")]
    public void An_extent_outside_the_VMs_own_regular_files_is_refused_and_a_finding(string name)
    {
        using Scratch scratch = Tenants();
        (ScanResult result, VmDisk disk) = Scan(scratch, "disk.vmdk", VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", $"RW 16 FLAT \"{name}\" 0")));

        Assert.Single(disk.Plan.Files);
        result.Gap("refused", "disk.vmdk");
        Assert.Equal("HostileImage_ForbiddenReference", Assert.Single(result.Findings).Rule);
        Assert.Equal(1, result.Status);
    }

    [Fact]
    public void An_absolute_name_inside_the_VMs_own_folder_is_its_own_file()
    {
        using Scratch scratch = Tenants();
        (ScanResult result, VmDisk disk) = Scan(scratch, "disk.vmdk", VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", $"RW 16 FLAT \"{scratch["vm/own.bin"]}\" 0")));

        Assert.Equal(2, disk.Plan.Files.Count);
        Assert.Empty(result.Findings);
    }

    [Theory]
    [InlineData("own.bin\u0000.raw")]
    [InlineData("nothing-of-this-name.raw")]
    public void An_extent_that_is_not_there_is_a_gap_and_never_zeros(string name)
    {
        using Scratch scratch = Tenants();
        (ScanResult result, _) = Scan(scratch, "disk.vmdk", VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", $"RW 16 FLAT \"{name}\" 0")));

        Assert.NotEmpty(result.Gaps);
        Assert.Empty(result.Report.Targets[0].Disks[0].Volumes);
        Assert.Equal(3, result.Status);
    }

    [Theory]
    [InlineData("/etc/shadow", true)]
    [InlineData("../other/x.raw", true)]
    [InlineData("folderlink/x.raw", true)]
    [InlineData("link.bin", true)]
    [InlineData("fifo.bin", true)]
    [InlineData("/vmfs/volumes/other/base.vmdk", false)]
    [InlineData("C:\\VMs\\base.vmdk", false)]
    [InlineData("\\\\server\\share\\base.vmdk", false)]
    [InlineData("base.vmdk", false)]
    public void A_VMDK_parent_elsewhere_is_never_opened(string parent, bool isForbidden)
    {
        using Scratch scratch = Tenants();
        (ScanResult result, VmDisk disk) = Scan(scratch, "disk.vmdk", VmdkImages.Hosted(
            [Grain.Data(1), Grain.Hole], VmdkImages.Descriptor("monolithicSparse", "RW 32 SPARSE \"disk.vmdk\"", 1, 0xBEEF, parent)));

        Assert.DoesNotContain(disk.Plan.Files, f => !f.Path.EndsWith("disk.vmdk", StringComparison.Ordinal));
        result.Gap(isForbidden ? "refused" : "missing-parent", "disk.vmdk");
        Assert.Equal(isForbidden ? 1 : 3, result.Status);
    }

    [Theory]
    [InlineData("absolute_win32_path", "C:\\Windows\\base.vhdx", false)]
    [InlineData("volume_path", "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\base.vhdx", false)]
    [InlineData("absolute_win32_path", "\\\\server\\share\\base.vhdx", false)]
    [InlineData("relative_path", ".\\base.vhdx", false)]
    [InlineData("relative_path", "..\\other\\base.vhdx", true)]
    [InlineData("relative_path", "..\\..\\..\\etc\\shadow", true)]
    [InlineData("absolute_win32_path", "/etc/shadow", true)]
    [InlineData("relative_path", "link.bin", true)]
    [InlineData("relative_path", "fifo.bin", true)]
    public void A_VHDX_parent_elsewhere_is_never_opened(string key, string path, bool isForbidden)
    {
        using Scratch scratch = Tenants();
        var id = Guid.NewGuid();
        File.WriteAllBytes(scratch["other/base.vhdx"], new VhdxWriter { DataWriteGuid = id }.Build());
        (ScanResult result, VmDisk disk) = Scan(scratch, "disk.vhdx", new VhdxWriter { Parent = [("parent_linkage", id.ToString("B")), (key, path)] }.Build());

        Assert.Single(disk.Plan.Files);
        result.Gap(isForbidden ? "refused" : "missing-parent", "disk.vhdx");
        Assert.Equal(isForbidden ? 1 : 3, result.Status);
    }

    [Theory]
    [InlineData("/etc/shadow")]
    [InlineData("../other/x.raw")]
    [InlineData("folderlink/x.raw")]
    [InlineData("link.bin")]
    [InlineData("fifo.bin")]
    [InlineData("/dev/zero")]
    public void A_configuration_that_names_disks_elsewhere_gives_a_gap_and_its_other_disks_are_scanned(string name)
    {
        using Scratch scratch = Tenants();
        File.WriteAllBytes(scratch["vm/" + HostileScan.Sound], HostileScan.Fat("printf x > a; mcopy -i image a ::A"));
        File.WriteAllText(scratch["vm/vm.vmx"], $"""
            displayName = "x"
            scsi0:0.fileName = "{name}"
            scsi0:1.fileName = "{HostileScan.Sound}"
            """);
        ScanResult result = HostileScan.Targets(scratch["vm/vm.vmx"]);

        DiskReport disk = Assert.Single(Assert.Single(result.Report.Targets).Disks);
        Assert.True(Assert.Single(disk.Volumes).Files.Scanned > 0);
        GapReport gap = Assert.Single(result.Gaps);
        Assert.Equal(("refused", name), (gap.Fault, gap.Path));
        Assert.Equal(3, result.Status);
    }
}
