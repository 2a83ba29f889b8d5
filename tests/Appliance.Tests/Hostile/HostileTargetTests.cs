using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>Targets and folders that hold what must never be opened.</summary>
public sealed class HostileTargetTests
{
    [Theory]
    [InlineData("/dev/zero")]
    [InlineData("/dev/null")]
    [InlineData("/dev/stdin")]
    [InlineData("/nothing/of/this/name")]
    public void A_device_or_nothing_is_no_target(string target) =>
        Assert.Contains(target, Assert.Throws<TargetException>(() => new TargetFinder([]).Find(target).ToList()).Message, StringComparison.Ordinal);

    [Fact]
    public void A_FIFO_or_socket_is_no_target()
    {
        using var scratch = new Scratch();
        Tool.Shell("mkfifo fifo.raw; perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"socket.vmdk\")) or die'; mkfifo fifo.vmx", scratch.Folder);
        foreach (string name in (string[])["fifo.raw", "socket.vmdk", "fifo.vmx"])
        {
            Assert.Throws<TargetException>(() => new TargetFinder([]).Find(scratch[name]).ToList());
        }
    }

    [Fact]
    public void Special_files_and_links_in_a_folder_are_gaps_and_never_opened()
    {
        using var scratch = new Scratch();
        using var elsewhere = new Scratch();
        File.WriteAllBytes(elsewhere["x.raw"], new byte[512]);
        Tool.Shell($"""
            mkfifo fifo.vmx fifo.vmdk fifo.raw
            ln -s /dev/zero zero.img; ln -s /etc/shadow shadow.vmdk; ln -s {elsewhere["x.raw"]} linked.raw; ln -s {elsewhere.Folder} folder; ln -s . circle
            ln -s nothing dangling.vhdx; mknod node.raw c 1 5
            perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("socket.qcow2")) or die'
            touch "$(printf 'not text \xff.vmdk')"
            """, scratch.Folder);
        ScanResult result = HostileScan.Folder(scratch);

        foreach (string name in (string[])["fifo.vmx", "fifo.vmdk", "fifo.raw", "zero.img", "shadow.vmdk", "linked.raw", "folder", "circle", "dangling.vhdx", "node.raw", "socket.qcow2", "not text"])
        {
            result.Gap("refused", name);
        }

        Assert.Equal(3, result.Status);
        Assert.Single(result.Report.Targets, t => t.Disks.Count > 0);
    }

    [Fact]
    public void A_folder_without_any_disk_is_not_clean()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["readme.txt"], "nothing here");
        Assert.Throws<TargetException>(() => new TargetFinder([]).Find(scratch.Folder).ToList());
    }

    [Fact]
    public void A_broken_configuration_does_not_keep_other_targets_from_being_scanned()
    {
        using var scratch = new Scratch();
        HostileScan.AddSound(scratch);
        File.WriteAllBytes(scratch["noise.vmx"], [0, 1, 2, 255, 254]);
        File.WriteAllText(scratch["large.vmx"], "displayName = \"x\"\n" + new string('#', 5 << 20));
        ScanResult result = HostileScan.Targets(scratch["noise.vmx"], scratch["large.vmx"], scratch[HostileScan.Sound]);

        result.AssertSoundScanned();
        result.Gap("corrupt", "noise.vmx");
        result.Gap("corrupt", "large.vmx");
        Assert.Equal(3, result.Status);
    }

    [Fact]
    public void A_folder_that_is_deeper_than_any_path_may_be_is_searched_as_far_as_it_goes()
    {
        using var scratch = new Scratch();
        Tool.Shell("n=$(printf 'd%.0s' $(seq 1 200)); for i in $(seq 1 15); do mkdir $n; cd $n; done; touch deep.raw", scratch.Folder);
        Assert.NotEmpty(HostileScan.Folder(scratch).Gaps);
    }
}
