using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection.Guest;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection.Guest;

/// <summary>Systems whose root folder or whose <c>/etc</c> lies where links lead.</summary>
public sealed partial class GuestInspectorTests
{
    private const string Stateroot = "ostree/deploy/fedora-coreos";

    private static readonly string Older = $"{Stateroot}/deploy/{new string('a', 64)}.0";
    private static readonly string One = new('1', 64);
    private static readonly string Two = new('2', 64);
    private static readonly string Newer = $"{Stateroot}/deploy/{new string('b', 64)}.1";

    [Theory]
    [InlineData("ostree-1.conf")]
    [InlineData("ostree-2.conf")]
    public void The_deployment_that_the_boot_loader_s_first_entry_names_is_the_system(string first)
    {
        (string Name, string Checksum)[] entries = [("ostree-1.conf", One), ("ostree-2.conf", Two)];
        foreach ((string name, string checksum) in entries)
        {
            Tree("boot", $"loader.1/entries/{name}", $"title Fedora CoreOS 40 (ostree:0)\nversion {(name == first ? 2 : 1)}\noptions root=UUID=x  rw ostree=/ostree/boot.1/fedora-coreos/{checksum}/0 quiet\nlinux /vmlinuz\n");
        }

        Tree("boot", "loader.0/entries/ostree-9.conf", $"title left over\nversion 9\noptions ostree=/ostree/boot.1/fedora-coreos/{One}/0\n");
        Deployments();
        Tool.Shell("""
            PATH=$PATH:/sbin:/usr/sbin
            ln -s loader.1 boot/loader
            for i in boot root; do mke2fs -q -F -t ext4 -d $i $i.img 8M; done
            truncate -s 20M disk
            printf 'label-id: 0x90a1b2c3\nstart=2048,size=16384\nstart=18432,size=16384\n' | sfdisk -q disk
            dd if=boot.img of=disk bs=1M seek=1 conv=notrunc status=none; dd if=root.img of=disk bs=1M seek=9 conv=notrunc status=none
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        bool isOlder = first == "ostree-1.conf";
        Assert.Equal(("v2", isOlder ? "older" : "newer", "core01", "Europe/Berlin"), (facts!.Volume, facts.OperatingSystem, facts.HostName, facts.TimeZone));
        Assert.Equal((isOlder ? new GuestPackages("rpm (sqlite)", 15) : null, Moment), (facts.Packages, facts.LastBoot));
        Assert.Equal(isOlder ? ["kernel-core 6.8.5-2", "6.8.5-300.fc40.x86_64"] : [], facts.Kernels);
        Assert.Equal([new GuestMount("v2", "/", isOlder ? Older : Newer), new GuestMount("v2", "/var", Stateroot + "/var"), new GuestMount("v2", "/sysroot", ""), new GuestMount("v1", "/boot", "")], facts.MountPoints);
        Assert.Empty(facts.OtherSystems);
    }

    [Theory]
    [InlineData("one", "older")]
    [InlineData("two", "newer")]
    [InlineData("", "newer")]
    public void Without_an_entry_it_is_what_the_loader_s_links_lead_to_or_the_newest(string kept, string system)
    {
        Deployments();
        Tool.Shell($$"""
            PATH=$PATH:/sbin:/usr/sbin
            truncate -s 128M disk; mkfs.btrfs -q -U 11111111-2222-3333-4444-555555555555 disk
            mkdir mnt; mount -o loop disk mnt
            trap 'umount mnt' EXIT
            btrfs -q subvolume create mnt/root; btrfs -q subvolume create mnt/var
            mkdir -p mnt/root/{{Older}}; sync mnt; mkdir -p mnt/root/{{Newer}}
            cp -a root/. mnt/root/; echo 'UUID=11111111-2222-3333-4444-555555555555 / btrfs subvol=root 0 0' | tee mnt/root/{{Older}}/etc/fstab > mnt/root/{{Newer}}/etc/fstab
            [ '{{kept}}' = one ] && rm -r mnt/root/ostree/boot.1.1/fedora-coreos/{{Two}}
            [ '{{kept}}' = two ] && rm -r mnt/root/ostree/boot.1.1/fedora-coreos/{{One}}
            [ '{{kept}}' = '' ] && rm -r mnt/root/ostree/boot.*
            true
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal(system, facts!.OperatingSystem);
        Assert.Equal(
            [new GuestMount("v1", "/", "root/" + (system == "older" ? Older : Newer)), new GuestMount("v1", "/var", $"root/{Stateroot}/var"), new GuestMount("v1", "/sysroot", "root")],
            facts.MountPoints);
    }

    [Fact]
    public void A_deployment_in_composefs_is_named_by_its_entry()
    {
        Tree("root", $"{Newer}/.ostree.cfs", "");
        Tree("root", $"{Newer}/etc/hostname", "image01\n");
        Tree("root", "boot/loader.0/entries/ostree-1.conf", $"title Fedora Linux 41 (bootc) (ostree:0)\nversion 1\noptions ostree=/ostree/boot.0/fedora-coreos/{One}/0\n");
        Tool.Shell($$"""
            PATH=$PATH:/sbin
            ln -s loader.0 root/boot/loader; ln -s ../usr/lib/os-release root/{{Newer}}/etc/os-release
            mkdir -p root/ostree/boot.0.1/fedora-coreos/{{One}}; ln -s boot.0.1 root/ostree/boot.0; ln -s ../../../deploy/{{Newer[14..]}} root/ostree/boot.0.1/fedora-coreos/{{One}}/0
            mke2fs -q -F -t ext4 -d root disk 8M
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal(("Fedora Linux 41 (bootc)", "image01"), (facts!.OperatingSystem, facts.HostName));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_NixOS_s_etc_leads_into_its_store(bool isStoreApart)
    {
        string hash = new('0', 32);
        string store = isStoreApart ? "nix/store" : "root/nix/store";
        Tree("root", "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        Tree(".", $"{store}/{hash}-etc-os-release", "PRETTY_NAME=\"NixOS 24.05 (Uakari)\"\nVERSION_ID=\"24.05\"\n");
        Tree(".", $"{store}/{hash}-etc-hostname", "nix01\n");
        Tree(".", $"{store}/{hash}-etc-fstab", "/dev/sda1 / ext4 defaults 0 0\n" + (isStoreApart ? "/dev/sda2 /nix ext4 defaults 0 0\n" : ""));
        Tree(".", $"{store}/{hash}-etc/etc/empty", "");
        Tool.Shell($$"""
            PATH=$PATH:/sbin:/usr/sbin
            ln -s /nix/store/{{hash}}-etc/etc root/etc/static
            for i in os-release hostname fstab; do ln -s /etc/static/$i root/etc/$i; ln -s /nix/store/{{hash}}-etc-$i {{store}}/{{hash}}-etc/etc/$i; done
            ln -s /etc/static/localtime root/etc/localtime; ln -s /etc/zoneinfo/Europe/Berlin {{store}}/{{hash}}-etc/etc/localtime
            mkdir -p nix; mv {{(isStoreApart ? "nix/store" : "nix")}} apart; mkdir -p all; [ {{(isStoreApart ? 1 : 0)}} = 0 ] || mv apart all/store
            for i in root all; do mke2fs -q -F -t ext4 -d $i $i.img 8M; done
            truncate -s 20M disk
            printf 'label-id: 0x90a1b2c3\nstart=2048,size=16384\nstart=18432,size=16384\n' | sfdisk -q disk
            dd if=root.img of=disk bs=1M seek=1 conv=notrunc status=none; dd if=all.img of=disk bs=1M seek=9 conv=notrunc status=none
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal(("NixOS 24.05 (Uakari)", "24.05", "nix01", "Europe/Berlin"), (facts!.OperatingSystem, facts.Version, facts.HostName, facts.TimeZone));
        Assert.Equal(isStoreApart ? [new GuestMount("v1", "/", ""), new GuestMount("v2", "/nix", "")] : [new GuestMount("v1", "/", "")], facts.MountPoints);
    }

    [Fact]
    public void Links_stay_within_the_system_and_end()
    {
        Tree("root", "usr/lib/os-release", "PRETTY_NAME=\"below\"\n");
        Tool.Shell($$"""
            PATH=$PATH:/sbin
            mkdir root/etc; ln -s ../../../../../usr/../usr/lib/./os-release root/etc/os-release
            ln -s static root/etc/static; ln -s /etc/static/../static/hostname root/etc/hostname; ln -s machine-id/machine-id root/etc/machine-id
            mke2fs -q -F -t ext4 -d root disk 8M
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal(("below", "", ""), (facts!.OperatingSystem, facts.HostName, facts.MachineId));
    }

    [Fact]
    public void An_image_that_is_built_without_dpkg_has_a_file_for_each_package()
    {
        Tree("root", "etc/os-release", "PRETTY_NAME=\"Distroless\"\n");
        Tree("root", "var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\nDescription: x\n more\n\n");
        Tree("root", "var/lib/dpkg/status.d/open-vm-tools", "Package: open-vm-tools\nVersion: 2:12.2.0-1");
        Tree("root", "var/lib/dpkg/status.d/base.md5sums", "Package: none\nVersion: 1\n");
        Tool.Shell("PATH=$PATH:/sbin; mke2fs -q -F -t ext4 -d root disk 8M", _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal(new GuestPackages("dpkg", 2), facts!.Packages);
        Assert.Equal([new GuestTool("VMware Tools", "2:12.2.0-1")], facts.HypervisorTools);
    }

    [Fact]
    public void Twenty_thousand_mutated_links_and_entries_lead_nowhere_else()
    {
        var random = new Random(7);
        string checksum = new('c', 64);
        string[] words = ["..", ".", "", "/", "etc", "nix", "store", new string('0', 32) + "-etc", "static", "ostree", "deploy", checksum + ".0", "boot.1", "os-release", "a\0b", "loader", "\u00e9", new string('x', 300)];
        string AnyPath(int most) => string.Join('/', Enumerable.Range(0, random.Next(most)).Select(_ => words[random.Next(words.Length)]));
        int ended = 0;
        for (int i = 0; i < 20_000; i++)
        {
            Dictionary<string, string> links = [];
            for (int n = random.Next(12); n > 0; n--)
            {
                links[AnyPath(4)] = (random.Next(2) == 0 ? "/" : "") + AnyPath(random.Next(10) == 0 ? 3000 : 6);
            }

            int read = 0;
            var walk = new LinkWalk(
                p => links.ContainsKey(p) ? new FoundFile(null!, p, new GuestFile { Kind = GuestFileKind.Link, Id = 1, Links = [], SizeBytes = 0, FirstByte = -1 }) : null,
                l => { read++; return links[l.Path]; });
            if (walk.Follow(AnyPath(random.Next(100) == 0 ? 3000 : 8)) is { } end)
            {
                ended++;
                Assert.DoesNotContain(end.Split('/'), n => n is ".." or ".");
                Assert.True(end.Length == 0 || !end.StartsWith('/'));
                Assert.False(end.Length > 0 && links.ContainsKey(end), end);
            }

            Assert.InRange(read, 0, 40);
            string below = AnyPath(9);
            Assert.InRange(OstreePaths.DeploymentIn(below), 0, below.Length);
            Assert.InRange(OstreePaths.StaterootIn(below), 0, below.Length);
            Assert.EndsWith(OstreePaths.Inside(below).ToString(), below, StringComparison.Ordinal);
            Assert.True(NixPaths.Inside(below) is "" or ['e', 't', 'c', '/', ..]);
            char[] entry = "title Fedora (ostree:0)\nversion 12\noptions a ostree=/ostree/boot.1/x/y/0 b\n".ToCharArray();
            for (int n = random.Next(1, 8); n > 0; n--)
            {
                entry[random.Next(entry.Length)] = (char)random.Next(128);
            }

            (string title, string target, int version) = OstreeBoot.Parse(new string(entry));
            Assert.True(title.Length + target.Length <= entry.Length && version >= 0);
        }

        Assert.InRange(ended, 2_000, 19_999);
    }

    /// <summary>A root of two deployments, each with a link of the loader's.</summary>
    private void Deployments()
    {
        Tree("root", $"{Older}/usr/lib/os-release", "PRETTY_NAME=\"older\"\n");
        Tree("root", $"{Newer}/usr/lib/os-release", "PRETTY_NAME=\"newer\"\n");
        Tree("root", $"{Older}/usr/share/rpm/rpmdb.sqlite", "");
        File.WriteAllBytes(Path.Combine(_scratch["root"], Older, "usr/share/rpm/rpmdb.sqlite"), Rpm.RpmDatabases.Sqlite);
        Tree("root", $"{Older}/usr/lib/modules/6.8.5-300.fc40.x86_64/modules.dep", "");
        Tree("root", $"{Older}/etc/hostname", "core01\n");
        Tree("root", $"{Newer}/etc/empty", "");
        Tree("root", $"{Newer}/usr/etc/hostname", "core01\n");
        Tree("root", $"{Stateroot}/var/log/wtmp", "");
        File.WriteAllBytes(_scratch[$"root/{Stateroot}/var/log/wtmp"], Record(2, "reboot", Moment));
        Tool.Shell($$"""
            mkdir -p root/ostree/boot.1.1/fedora-coreos/{{One}} root/ostree/boot.1.1/fedora-coreos/{{Two}}; ln -s boot.1.1 root/ostree/boot.1
            ln -s ../../../deploy/{{Older[14..]}} root/ostree/boot.1.1/fedora-coreos/{{One}}/0; ln -s ../../../deploy/{{Newer[14..]}} root/ostree/boot.1.1/fedora-coreos/{{Two}}/0
            for i in {{Older}} {{Newer}}; do ln -s ../usr/lib/os-release root/$i/etc/os-release; ln -s ../usr/share/zoneinfo/Europe/Berlin root/$i/etc/localtime; done
            """, _scratch.Folder);
    }
}
