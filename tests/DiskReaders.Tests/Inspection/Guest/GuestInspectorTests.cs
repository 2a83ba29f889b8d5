using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;
using Vmsweep.DiskReaders.Tests.Inspection.Registry;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection.Guest;

public sealed partial class GuestInspectorTests : IDisposable
{
    private const string CurrentVersion = @"Microsoft\Windows NT\CurrentVersion";

    private static readonly DateTimeOffset Moment = new(2024, 5, 6, 7, 8, 9, TimeSpan.Zero);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_Debian_with_its_var_and_home_on_volumes_of_their_own()
    {
        Tree("root", "etc/fstab", """
            # made up
            UUID=11111111-2222-3333-4444-555555555555 / ext4 errors=remount-ro 0 1
            LABEL=homes /home ext4 defaults 0 2
            PARTUUID=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee	/var	ext4	defaults	0	2
            UUID=99999999-2222-3333-4444-555555555555 /gone ext4 defaults 0 2
            /dev/sda2 /mnt/with\040space ext4 noauto 0 0
            tmpfs /tmp tmpfs defaults 0 0
            """);
        Tree("root", "usr/lib/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\n");
        Tree("root", "etc/hostname", "web01\n");
        Tree("root", "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        Tree("root", "usr/lib/modules/6.1.0-18-amd64/modules.dep", "");
        Tree("root", "usr/sbin/qemu-ga", "");
        Tree("root", "usr/bin/vmtoolsd", "");
        Tree("home", "someone/file", "x");
        Tree("var", "lib/dpkg/status", """
            Package: open-vm-tools
            Status: install ok installed
            Version: 2:12.2.0-1+deb12u2

            Package: removed
            Status: deinstall ok config-files
            Version: 1

            Package: linux-image-6.1.0-18-amd64
            Status: hold ok installed
            Version: 6.1.76-1

            """);
        Directory.CreateDirectory(_scratch["var/log"]);
        File.WriteAllBytes(_scratch["var/log/wtmp"], [.. Record(2, "reboot", Moment.AddDays(-9)), .. Record(7, "early", Moment.AddDays(-3)), .. Record(2, "reboot", Moment.AddDays(-2)), .. Record(7, "root", Moment), .. Record(8, "", Moment)]);
        Tool.Shell("""
            export PATH=$PATH:/sbin:/usr/sbin
            ln -s ../usr/lib/os-release root/etc/os-release; ln -s /usr/share/zoneinfo/Europe/Berlin root/etc/localtime
            mke2fs -q -F -t ext4 -U 11111111-2222-3333-4444-555555555555 -d root root.img 8M
            mke2fs -q -F -t ext4 -L homes -d home home.img 8M
            mke2fs -q -F -t ext4 -d var var.img 8M
            truncate -s 28M disk
            sgdisk -n 1:2048:+8M -n 2:0:+8M -n 3:0:+8M -u 3:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee disk >/dev/null
            n=1; for i in root home var; do dd if=$i.img of=disk bs=1M seek=$n conv=notrunc status=none; n=$((n+8)); done
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.NotNull(facts);
        Assert.Equal(("v1", "Debian GNU/Linux 12 (bookworm)", "12", "web01", "Europe/Berlin"), (facts.Volume, facts.OperatingSystem, facts.Version, facts.HostName, facts.TimeZone));
        Assert.Equal("0123456789abcdef0123456789abcdef", facts.MachineId);
        Assert.Equal((Moment.AddDays(-2), Moment, "root"), (facts.LastBoot, facts.LastLogOn, facts.LastUser));
        Assert.Equal(["linux-image-6.1.0-18-amd64 6.1.76-1", "6.1.0-18-amd64"], facts.Kernels);
        Assert.Equal(new GuestPackages("dpkg", 2), facts.Packages);
        Assert.Equal([new GuestTool("VMware Tools", "2:12.2.0-1+deb12u2"), new GuestTool("QEMU guest agent", "")], facts.HypervisorTools);
        Assert.Equal([new GuestMount("v1", "/", ""), new GuestMount("v2", "/home", ""), new GuestMount("v3", "/var", ""), new GuestMount("v2", "/mnt/with space", "")], facts.MountPoints);
    }

    [Fact]
    public void An_Alpine_and_beside_it_another_system()
    {
        Tree("alpine", "etc/os-release", "NAME=\"Alpine Linux\"\nPRETTY_NAME=\"Alpine Linux v3.20\"\nVERSION_ID=3.20.1\n");
        Tree("alpine", "lib/apk/db/installed", "P:musl\nV:1.2.5-r0\n\nP:linux-virt\nV:6.6.32-r0\n\nP:hvtools\nV:6.6\n");
        Tree("alpine", "etc/timezone", "UTC\n");
        Tree("other", "etc/redhat-release", "CentOS release 6.10 (Final)\n");
        Tool.Shell("""
            PATH=$PATH:/sbin:/usr/sbin
            for i in alpine other; do mke2fs -q -F -t ext4 -d $i $i.img 8M; done
            truncate -s 20M disk
            printf 'label-id: 0x90a1b2c3\nstart=2048,size=16384\nstart=18432,size=16384\n' | sfdisk -q disk
            dd if=alpine.img of=disk bs=1M seek=1 conv=notrunc status=none; dd if=other.img of=disk bs=1M seek=9 conv=notrunc status=none
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.NotNull(facts);
        Assert.Equal(("Alpine Linux v3.20", "3.20.1", "UTC"), (facts.OperatingSystem, facts.Version, facts.TimeZone));
        Assert.Equal(new GuestPackages("apk", 3), facts.Packages);
        Assert.Equal(["linux-virt 6.6.32-r0"], facts.Kernels);
        Assert.Equal([new GuestTool("Hyper-V daemons", "6.6")], facts.HypervisorTools);
        Assert.Equal(["v2 CentOS release 6.10 (Final)"], facts.OtherSystems);
        Assert.Equal([new GuestMount("v1", "/", "")], facts.MountPoints);
    }

    [Fact]
    public void A_system_in_a_subvolume_of_Btrfs()
    {
        Tree("root", "@/etc/os-release", "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\n");
        Tree("root", "@/etc/fstab", "UUID=11111111-2222-3333-4444-555555555555 / btrfs subvol=@ 0 0\nUUID=11111111-2222-3333-4444-555555555555 /var btrfs defaults,subvol=/@var 0 0\n");
        Tree("root", "@var/lib/dpkg/status", "Package: a\nStatus: install ok installed\nVersion: 1\n");
        Tool.Shell("""
            PATH=$PATH:/sbin:/usr/sbin
            truncate -s 128M disk; mkfs.btrfs -q -U 11111111-2222-3333-4444-555555555555 disk
            mkdir mnt; mount -o loop disk mnt
            trap 'umount mnt' EXIT
            btrfs -q subvolume create mnt/@; btrfs -q subvolume create mnt/@var
            cp -a root/@/. mnt/@/; cp -a root/@var/. mnt/@var/
            btrfs -q subvolume snapshot mnt/@ mnt/snapshot
            """, _scratch.Folder);
        (GuestFacts? facts, _) = Inspect("disk");
        Assert.NotNull(facts);
        Assert.Equal("Ubuntu 24.04 LTS", facts.OperatingSystem);
        Assert.Equal(new GuestPackages("dpkg", 1), facts.Packages);
        Assert.Equal([new GuestMount("v1", "/", "@"), new GuestMount("v1", "/var", "/@var")], facts.MountPoints);
        Assert.Empty(facts.OtherSystems);
    }

    [Fact]
    public void The_snapshot_that_a_SUSE_boots_is_the_default_subvolume()
    {
        const string Id = "11111111-2222-3333-4444-555555555555";
        Tree("root", "etc/fstab", $"UUID={Id} / btrfs defaults 0 0\nUUID={Id} /var btrfs subvol=/@/var 0 0\nUUID={Id} /home btrfs subvolid=HOME 0 0\nUUID={Id} /top btrfs subvolid=5 0 0\nUUID={Id} /gone btrfs subvolid=9999 0 0\n");
        Tree("var", "log/wtmp", "");
        Tool.Shell($$"""
            PATH=$PATH:/sbin:/usr/sbin
            truncate -s 128M disk; mkfs.btrfs -q -U {{Id}} disk
            mkdir mnt; mount -o loop disk mnt
            trap 'umount mnt' EXIT
            for i in @ @/home @/var @/.snapshots; do btrfs -q subvolume create mnt/$i; done
            mkdir mnt/@/.snapshots/1 mnt/@/.snapshots/2; btrfs -q subvolume create mnt/@/.snapshots/1/snapshot
            cp -a root/. mnt/@/.snapshots/1/snapshot; cp -a var/. mnt/@/var
            sed -i s/HOME/$(btrfs inspect-internal rootid mnt/@/home)/ mnt/@/.snapshots/1/snapshot/etc/fstab
            echo 'PRETTY_NAME="before"' > mnt/@/.snapshots/1/snapshot/etc/os-release
            btrfs -q subvolume snapshot mnt/@/.snapshots/1/snapshot mnt/@/.snapshots/2/snapshot
            echo 'PRETTY_NAME="rolled back"' > mnt/@/.snapshots/2/snapshot/etc/os-release
            btrfs subvolume set-default mnt/@/.snapshots/2/snapshot
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal("rolled back", facts!.OperatingSystem);
        Assert.Equal([new GuestMount("v1", "/", "@/.snapshots/2/snapshot"), new GuestMount("v1", "/var", "/@/var"), new GuestMount("v1", "/home", "@/home"), new GuestMount("v1", "/top", "")], facts.MountPoints);
    }

    [Theory]
    [InlineData(1, "alice")]
    [InlineData(2000, "user1999")]
    public void A_Debian_13_keeps_log_ins_in_a_database(int users, string last)
    {
        Tree("root", "etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n");
        Tree("root", "var/lib/wtmpdb/empty", "");
        Tool.Shell($"""
            PATH=$PATH:/sbin:/usr/sbin
            python3 - <<'END'
            import sqlite3
            d = sqlite3.connect('root/var/lib/wtmpdb/wtmp.db')
            d.execute('CREATE TABLE wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT)')
            t = {Moment.ToUnixTimeSeconds()} * 1000000
            row = lambda kind, user, time: d.execute('INSERT INTO wtmp (Type, User, Login, TTY) VALUES (?, ?, ?, ?)', (kind, user, time, '~'))
            row(1, 'reboot', t - 7200000000)
            for i in range({users}): row(3, 'user%d' % i if {users} > 1 else 'alice', t - 3600000000 + i * 1000000)
            row(1, 'reboot', t); row(2, 'runlevel', t + 9000000)
            d.commit()
            END
            mke2fs -q -F -t ext4 -d root disk 8M
            """, _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal((Moment, Moment.AddSeconds(users - 3601), last), (facts!.LastBoot, facts.LastLogOn, facts.LastUser));
    }

    [Theory]
    [InlineData("var/lib/rpm/rpmdb.sqlite", "rpm (sqlite)")]
    [InlineData("usr/lib/sysimage/rpm/Packages.db", "rpm (ndb)")]
    [InlineData("var/lib/rpm/Packages", "rpm (Berkeley DB)")]
    public void A_Fedora_s_packages_are_counted(string path, string kind)
    {
        Tree("root", "etc/os-release", "PRETTY_NAME=\"Fedora Linux 40\"\n");
        Tree("root", path, "");
        File.WriteAllBytes(Path.Combine(_scratch["root"], path), kind switch { "rpm (sqlite)" => Rpm.RpmDatabases.Sqlite, "rpm (ndb)" => Rpm.RpmDatabases.Ndb(), _ => Rpm.RpmDatabases.Berkeley });
        Tool.Shell("PATH=$PATH:/sbin:/usr/sbin; mke2fs -q -F -t ext4 -d root disk 16M", _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.Equal(new GuestPackages(kind, 15), facts!.Packages);
        Assert.Equal(["kernel-core 6.8.5-2"], facts.Kernels);
        Assert.Equal([new GuestTool("VMware Tools", "12.3.0-2")], facts.HypervisorTools);
    }

    [Theory]
    [InlineData("ntfs")]
    [InlineData("fat")]
    public void A_Windows_on_a_disk_with_letters(string kind)
    {
        string config = "Windows/System32/config/";
        File.WriteAllBytes(Path.Combine(Folder(config), "SOFTWARE"), Software().Build());
        byte[] before = Machine("OLDNAME").Build();
        byte[] after = Machine("SRV1").Build();
        File.WriteAllBytes(Path.Combine(Folder(config), "SYSTEM"), HiveWriter.Dirty(before));
        File.WriteAllBytes(Path.Combine(Folder(config), "SYSTEM.LOG1"), HiveWriter.NewLog(before, after, 7));
        Disk(kind);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.Empty(gaps);
        Assert.NotNull(facts);
        Assert.Equal(("Windows 11 Pro", "23H2", "Professional", "10.0.22631.3447"), (facts.OperatingSystem, facts.Version, facts.Edition, facts.PatchLevel));
        Assert.Equal(("SRV1.corp.example", "W. Europe Standard Time", "guid"), (facts.HostName, facts.TimeZone, facts.MachineId));
        Assert.Equal((DateTimeOffset.FromUnixTimeSeconds(1_700_000_000), Moment, Moment, "someone"), (facts.Installed, facts.LastShutdown, facts.LastLogOn, facts.LastUser));
        Assert.Equal([new GuestTool("VMware Tools", "12.3.0.22234872"), new GuestTool("VirtIO drivers", "")], facts.HypervisorTools);
        Assert.Equal([new GuestMount("v1", "C:", "")], facts.MountPoints);
    }

    [Fact]
    public void A_broken_hive_is_a_gap_under_its_path_and_the_other_is_read()
    {
        string folder = Folder("Windows/System32/config/");
        byte[] broken = Software().Build();
        broken.AsSpan(36, 4).Fill(0x7F);
        HiveWriter.Repair(broken);
        File.WriteAllBytes(Path.Combine(folder, "SOFTWARE"), broken);
        File.WriteAllBytes(Path.Combine(folder, "SYSTEM"), Machine("SRV1").Build());
        Disk("fat");
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.NotEmpty(gaps);
        Assert.All(gaps, g => Assert.Equal((Fault.Corrupt, "v1/Windows/System32/config/SOFTWARE"), (g.Fault, g.Path)));
        Assert.Equal(("", "SRV1.corp.example"), (facts?.OperatingSystem, facts?.HostName));

        File.WriteAllBytes(Path.Combine(folder, "SYSTEM"), [1, 2, 3]);
        File.WriteAllText(Path.Combine(folder, "SOFTWARE"), "");
        Disk("fat");
        (facts, gaps) = Inspect("disk");
        Assert.Null(facts);
        Assert.Equal(2, gaps.Count);
    }

    [Fact]
    public void What_is_too_long_or_leads_to_itself_is_left_out()
    {
        Tree("root", "etc/os-release", $"PRETTY_NAME=\"{new string('x', 5000)}\"\nVERSION_ID=1\n");
        Tree("root", "etc/fstab", string.Concat(Enumerable.Range(0, 2000).Select(i => $"/dev/sda /m{i} ext4 defaults 0 0\n")) + "\\\n\\0 /\\09 x\n");
        Tree("root", "var/log/wtmp", "no records");
        Tree("root", "etc/sysconfig/network", "HOSTNAME=short\n");
        Tool.Shell("ln -s hostname root/etc/hostname; ln -s ../../../../../../etc/timezone root/etc/timezone; PATH=$PATH:/sbin; mke2fs -q -F -t ext4 -d root disk 8M", _scratch.Folder);
        (GuestFacts? facts, IReadOnlyList<CoverageGap> gaps) = Inspect("disk");
        Assert.NotNull(facts);
        Assert.Equal(("", "1", "short", ""), (facts.OperatingSystem, facts.Version, facts.HostName, facts.TimeZone));
        Assert.Equal(["v1/etc/os-release", "v1/var/log/wtmp"], gaps.Select(g => g.Path).Order());
    }

    [Theory]
    [InlineData("12345678-01", 0x12345678u, 1048576UL, true)]
    [InlineData("12345678-01", 0x12345679u, 1048576UL, false)]
    [InlineData("12345678-01", 0x12345678u, 1048577UL, false)]
    public void A_letter_belongs_to_the_partition_at_its_offset(string id, uint signature, ulong offset, bool isThere)
    {
        File.WriteAllBytes(Path.Combine(Folder("Windows/System32/config/"), "SOFTWARE"), Software().Build());
        File.WriteAllBytes(_scratch["tree/Windows/System32/config/SYSTEM"], Machine("X", signature, offset).Build());
        Disk("fat", id[..8]);
        Assert.Equal(isThere ? ["C:"] : [], Inspect("disk").Facts!.MountPoints.Select(m => m.Path));
    }

    [Theory]
    [InlineData(@"D:\Windows", "D:")]
    [InlineData(@"\SystemRoot", null)]
    [InlineData("C:", null)]
    public void A_system_whose_letter_no_device_is_named_for_says_its_own(string root, string? letter)
    {
        File.WriteAllBytes(Path.Combine(Folder("Windows/System32/config/"), "SOFTWARE"), Software().Text(CurrentVersion, "SystemRoot", root).Build());
        File.WriteAllBytes(_scratch["tree/Windows/System32/config/SYSTEM"], Machine("X", offset: 99).Build());
        Disk("fat");
        Assert.Equal(letter is null ? [] : [new GuestMount("v1", letter, "")], Inspect("disk").Facts!.MountPoints);
    }

    private static HiveWriter Software() => new HiveWriter()
        .Text(CurrentVersion, "ProductName", "Windows 10 Pro").Text(CurrentVersion, "DisplayVersion", "23H2").Text(CurrentVersion, "EditionID", "Professional")
        .Text(CurrentVersion, "CurrentBuild", "22631").Text(CurrentVersion, "InstallationType", "Client").Number(CurrentVersion, "UBR", 3447)
        .Number(CurrentVersion, "CurrentMajorVersionNumber", 10).Number(CurrentVersion, "CurrentMinorVersionNumber", 0).Number(CurrentVersion, "InstallDate", 1_700_000_000)
        .Text(@"Microsoft\Cryptography", "MachineGuid", "guid")
        .Text(CurrentVersion + @"\ProfileList\S-1-5-18", "ProfileImagePath", "system", 2)
        .Text(CurrentVersion + @"\ProfileList\S-1-5-21-1-2-3-1001", "ProfileImagePath", @"C:\Users\someone", 2)
        .Number(CurrentVersion + @"\ProfileList\S-1-5-21-1-2-3-1001", "LocalProfileLoadTimeHigh", (uint)(Moment.ToFileTime() >> 32))
        .Number(CurrentVersion + @"\ProfileList\S-1-5-21-1-2-3-1001", "LocalProfileLoadTimeLow", unchecked((uint)Moment.ToFileTime()))
        .Text(@"Microsoft\Windows\CurrentVersion\Uninstall\{1}", "DisplayName", "VMware Tools").Text(@"Microsoft\Windows\CurrentVersion\Uninstall\{1}", "DisplayVersion", "12.3.0.22234872")
        .Text(@"Microsoft\Windows\CurrentVersion\Uninstall\{2}", "DisplayName", "Something else");

    private static HiveWriter Machine(string name, uint signature = 0x12345678, ulong offset = 1 << 20)
    {
        byte[] device = new byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(device, signature);
        BinaryPrimitives.WriteUInt64LittleEndian(device.AsSpan(4), offset);
        return new HiveWriter()
            .Number("Select", "Current", 2)
            .Text(@"ControlSet001\Services\Tcpip\Parameters", "Hostname", "WRONG")
            .Text(@"ControlSet002\Services\Tcpip\Parameters", "Hostname", name).Text(@"ControlSet002\Services\Tcpip\Parameters", "Domain", "corp.example")
            .Text(@"ControlSet002\Control\TimeZoneInformation", "TimeZoneKeyName", "W. Europe Standard Time")
            .Value(@"ControlSet002\Control\Windows", "ShutdownTime", 3, BitConverter.GetBytes(Moment.ToFileTime()))
            .Number(@"ControlSet002\Services\VMTools", "Start", 2).Number(@"ControlSet002\Services\vioscsi", "Start", 0).Number(@"ControlSet002\Services\VBoxService", "Start", 4)
            .Value("MountedDevices", @"\DosDevices\C:", 3, device).Value("MountedDevices", @"\DosDevices\D:", 3, Encoding.Unicode.GetBytes(@"\??\SCSI#CdRom")).Value("MountedDevices", @"\DosDevices\EE:", 3, device);
    }

    /// <summary>A record of utmp, as 64-bit x86 has it.</summary>
    private static byte[] Record(short type, string user, DateTimeOffset time)
    {
        byte[] record = new byte[384];
        BinaryPrimitives.WriteInt16LittleEndian(record, type);
        Encoding.ASCII.GetBytes(user).CopyTo(record, 44);
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(340), (int)time.ToUnixTimeSeconds());
        return record;
    }

    private void Tree(string root, string path, string text)
    {
        string file = Path.Combine(_scratch[root], path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    private string Folder(string path) => Directory.CreateDirectory(Path.Combine(_scratch["tree"], path)).FullName;

    /// <summary>An MBR disk whose only volume holds the folder <c>tree</c>.</summary>
    private void Disk(string kind, string signature = "12345678") => Tool.Shell(
        $$"""
        PATH=$PATH:/sbin:/usr/sbin
        rm -rf disk volume; truncate -s 18M disk; truncate -s 16M volume
        printf 'label-id: 0x{{signature}}\nstart=2048,size=32768,type=7\n' | sfdisk -q disk
        if [ {{kind}} = ntfs ]; then
          mkntfs -q -F -f -p 0 -H 0 -S 0 volume >/dev/null 2>&1; mkdir -p mnt; ntfs-3g volume mnt; cp -r tree/. mnt/; umount mnt
        else
          mkfs.fat volume >/dev/null; mcopy -s -i volume tree/* ::
        fi
        dd if=volume of=disk bs=1M seek=1 conv=notrunc status=none
        """,
        _scratch.Folder);

    private (GuestFacts? Facts, IReadOnlyList<CoverageGap> Gaps) Inspect(string name)
    {
        var budget = new ScanBudget(256 << 20);
        var gaps = new GapList();
        var context = new ReadContext(budget, gaps);
        GuestFacts? facts;
        using (var source = new MemorySource(File.ReadAllBytes(_scratch[name])))
        {
            using var chain = new FolderChain((_, _) => null, [], context);
            VirtualDisk disk = new RawFormat().Open(new ImageFile(name, 0, source), chain, context);
            using InspectedVm vm = DiskInspector.Inspect([new OpenedDisk(disk, name, "")], context);
            facts = GuestInspector.Inspect(vm, context);
        }

        Assert.Equal(0, budget.InUse);
        return (facts, gaps.ToList());
    }
}
