using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Corpus;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>VMs inside OVF packages, OVA archives, exports and split images, read as a scan reads them.</summary>
public sealed class PackageTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("/etc/shadow", "refused")]
    [InlineData("../outside.vmdk", "refused")]
    [InlineData("..\\outside.vmdk", "refused")]
    [InlineData("%2e%2e/outside.vmdk", "refused")]
    [InlineData("file:///etc/shadow", "refused")]
    [InlineData("link.vmdk", "refused")]
    [InlineData("fifo.vmdk", "refused")]
    [InlineData("nothing.vmdk", "missing-parent")]
    [InlineData("http://elsewhere/disk.vmdk", "missing-parent")]
    public void A_name_that_leads_elsewhere_is_never_opened(string href, string fault)
    {
        Tool.Shell("mkdir vm; ln -s /etc/shadow vm/link.vmdk; mkfifo vm/fifo.vmdk; printf x > outside.vmdk", _scratch.Folder);
        Write("vm/x.ovf", OvfText.Of([("f1", href, "")], [("d1", "f1")], ("vm", ["ovf:/disk/d1"])));
        Vm vm = Find("vm/x.ovf").Single();
        Assert.Empty(vm.Disks);
        Assert.Equal(fault, Assert.Single(vm.Gaps).Fault);
        Assert.Equal(fault == "refused", vm.Refused.Count > 0);

        Tool.Shell("rm vm/fifo.vmdk; tar -C vm -cf vm/y.ova --exclude=y.ova x.ovf link.vmdk", _scratch.Folder);
        vm = Find("vm/y.ova").Single();
        Assert.Empty(vm.Disks);
        Assert.NotEmpty(vm.Gaps);
    }

    [Fact]
    public void A_hostile_name_in_a_package_is_a_finding()
    {
        Write("x.ovf", OvfText.Of([("f1", "/etc/shadow", "")], [("d1", "f1")], ("vm", ["ovf:/disk/d1"])));
        ScanResult result = HostileScan.Folder(_scratch);
        Assert.Contains(result.Report.Targets.SelectMany(t => t.Findings), f => f.Rule == "HostileImage_ForbiddenReference");
    }

    [Fact]
    public void A_package_of_two_VMs_gives_each_its_own_disks()
    {
        MakeDisk();
        Tool.Shell("for f in vmdk vhdx qcow2; do qemu-img convert -f raw -O $f disk.raw disk.$f; done; qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw 'with blank.vmdk'; gzip -c disk.raw > disk.raw.gz; split -b 100000 -d -a 9 disk.qcow2 chunked.qcow2.; split -b 100000 -d -a 9 disk.raw.gz packed.raw.", _scratch.Folder);
        Write("x.ovf", OvfText.Of(
            [("f1", "disk.vmdk", ""), ("f2", "with%20blank.vmdk", ""), ("f3", "disk.raw.gz", "ovf:compression=\"gzip\""), ("f4", "chunked.qcow2", "ovf:chunkSize=\"100000\""), ("f5", "packed.raw", "ovf:compression=\"gzip\" ovf:chunkSize=\"100000\""), ("f6", "disk.vhdx", "")],
            [("d1", "f1"), ("d2", "f2"), ("d3", "f3"), ("d4", "f4"), ("d5", "f5"), ("d6", "f6"), ("empty", "")],
            ("one", ["ovf:/disk/d1", "ovf:/disk/d2", "ovf:/disk/empty"]),
            ("two", ["ovf://disk/d3", "/disk/d4", "ovf:/disk/d5"])));
        List<Vm> vms = Find("x.ovf");
        Assert.Equal(["one", "two"], vms.Select(v => v.Identity.Name));
        Assert.Equal([3, 3], vms.Select(v => v.Disks.Count));
        Assert.All(vms, v => Assert.Empty(v.Gaps));
        Assert.All(vms.SelectMany(v => v.Disks), AssertIsDisk);
        Assert.Equal(_scratch["chunked.qcow2"], vms[1].Disks[1].Path);
    }

    [Fact]
    public void A_disk_that_is_named_again_and_again_is_read_once()
    {
        MakeDisk();
        string[] many = [.. Enumerable.Repeat("ovf:/disk/d1", 3000)];
        Write("x.ovf", OvfText.Of([("f1", "disk.raw", "")], [("d1", "f1")], ("one", many), ("two", many)));
        List<Vm> vms = Find("x.ovf");
        Assert.Single(vms.SelectMany(v => v.Disks));
        Assert.All(vms, v => Assert.Equal("limit", Assert.Single(v.Gaps).Fault));
    }

    [Fact]
    public void A_missing_chunk_is_a_gap_and_no_short_disk()
    {
        MakeDisk();
        Tool.Shell("split -b 1000000 -d -a 9 disk.raw c.raw.; rm c.raw.000000002", _scratch.Folder);
        Write("x.ovf", OvfText.Of([("f1", "c.raw", "ovf:chunkSize=\"1000000\"")], [("d1", "f1")], ("one", ["ovf:/disk/d1"])));
        Vm vm = Find("x.ovf").Single();
        Assert.Empty(vm.Disks);
        Assert.Equal("missing-parent", Assert.Single(vm.Gaps).Fault);
    }

    [Theory]
    [InlineData("ustar")]
    [InlineData("gnu")]
    [InlineData("pax")]
    public void Disks_of_an_archive_are_read_where_they_lie(string format)
    {
        MakeDisk();
        Write("x.ovf", OvfText.Of(
            [("f1", "disk1.vmdk", ""), ("f2", "sub/disk2.vmdk", ""), ("f3", "disk3.raw.gz", "ovf:compression=\"gzip\"")],
            [("d1", "f1"), ("d2", "f2"), ("d3", "f3")],
            ("one", ["ovf:/disk/d1", "ovf:/disk/d2", "ovf:/disk/d3"])));
        Tool.Shell($"""
            qemu-img convert -O vmdk -o subformat=streamOptimized disk.raw disk1.vmdk
            mkdir sub; qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat disk.raw sub/disk2.vmdk; gzip -c disk.raw > disk3.raw.gz
            sha256sum --tag x.ovf disk1.vmdk sub/disk2-f001.vmdk | sed 's/ (/(/; s/) = /)= /' > x.mf
            tar --format={format} -cf x.ova x.ovf x.mf disk1.vmdk sub/disk2.vmdk sub/disk2-f001.vmdk disk3.raw.gz
            """, _scratch.Folder);
        Vm vm = Find("x.ova").Single();
        Assert.Empty(vm.Gaps);
        Assert.Equal("one", vm.Identity.Name);
        Assert.Equal(["disk1.vmdk", "sub/disk2.vmdk", "disk3.raw.gz"], vm.Disks.Select(d => d.Path[(_scratch["x.ova"].Length + 1)..]));
        Assert.All(vm.Disks, AssertIsDisk);
        Assert.Equal(3, vm.Manifest.Count);
        Assert.Empty(ManifestCheck.Run(vm.Manifest, TestContext.Current.CancellationToken));

        // One disk of it can be named.
        AssertIsDisk(new TargetFinder([]).Find(_scratch["x.ova"] + "/disk1.vmdk").Single().Disks.Single());
        Assert.Throws<TargetException>(() => new TargetFinder([]).Find(_scratch["x.ova"] + "/disk9.vmdk").ToList());
    }

    [Fact]
    public void A_digest_that_differs_is_a_gap_with_its_line_and_the_disk_is_read()
    {
        MakeDisk();
        Write("x.ovf", OvfText.Of([("f1", "disk.raw", "")], [("d1", "f1")], ("one", ["ovf:/disk/d1"])));
        Tool.Shell("printf 'SHA1(x.ovf)= %s\\nSHA1(disk.raw)= da39a3ee5e6b4b0d3255bfef95601890afd80709\\nnonsense\\nSHA1(gone)= da39a3ee5e6b4b0d3255bfef95601890afd80709\\n' $(sha1sum x.ovf | cut -c -40) > x.mf", _scratch.Folder);
        ScanResult result = HostileScan.Targets(_scratch["x.ovf"]);
        IReadOnlyList<GapReport> gaps = [.. result.Report.Targets.SelectMany(t => t.Gaps)];
        Assert.Equal(["line 2:", "line 3:", "line 4:"], gaps.Where(g => g.Structure == "OVF manifest").Select(g => g.Detail[..7]).Order());
        Assert.Contains(gaps, g => g.Fault == "corrupt" && g.Detail.Contains("disk.raw", StringComparison.Ordinal));
        AssertIsDisk(Find("x.ovf").Single().Disks.Single());
    }

    [Fact]
    public void An_archive_without_a_descriptor_gives_every_image_in_it_and_a_gap()
    {
        MakeDisk();
        Tool.Shell("qemu-img convert -O vmdk -o subformat=monolithicFlat disk.raw a.vmdk; qemu-img convert -O qcow2 disk.raw box.qcow2; tar -cf x.ova a.vmdk a-flat.vmdk box.qcow2; tar -cf y.box box.qcow2; tar -czf z.box box.qcow2", _scratch.Folder);
        foreach ((string name, int disks) in ((string, int)[])[("x.ova", 2), ("y.box", 1)])
        {
            Vm vm = Find(name).Single();
            Assert.Equal(disks, vm.Disks.Count);
            Assert.All(vm.Disks, AssertIsDisk);
            Assert.Contains("no OVF descriptor", Assert.Single(vm.Gaps).Detail, StringComparison.Ordinal);
        }

        Assert.Equal("unsupported", Assert.Single(Find("z.box").Single().Gaps).Fault);
    }

    [Fact]
    public void Members_that_are_named_to_land_elsewhere_or_twice_or_are_sparse_are_gaps()
    {
        MakeDisk();
        Tool.Shell("cp disk.raw x.raw; tar -cPf x.ova --transform='s,x.raw,../../x.raw,' x.raw; cp disk.raw y.raw; tar -rf x.ova y.raw; tar -rf x.ova y.raw; truncate -s 9M hole.raw; tar --format=gnu -rSf x.ova hole.raw", _scratch.Folder);
        Vm vm = Find("x.ova").Single();
        Assert.Equal(["corrupt", "missing-parent", "refused", "unsupported"], vm.Gaps.Select(g => g.Fault).Order());
        Assert.Equal(2, vm.Disks.Count);
        Assert.All(vm.Disks, AssertIsDisk);
    }

    [Fact]
    public void A_file_that_is_no_archive_is_a_gap()
    {
        File.WriteAllBytes(_scratch["x.ova"], new byte[4096]);
        File.WriteAllBytes(_scratch["empty.ova"], []);
        File.WriteAllText(_scratch["x.ovf"], "text");
        File.WriteAllText(_scratch["x.xva"], "text");
        File.WriteAllText(_scratch["x.vma"], "text");
        foreach (string name in (string[])["x.ova", "empty.ova", "x.ovf", "x.xva", "x.vma"])
        {
            Vm vm = Find(name).Single();
            Assert.Empty(vm.Disks);
            Assert.Single(vm.Gaps);
        }
    }

    [Fact]
    public void A_split_image_is_one_disk_and_its_pieces_are_none()
    {
        MakeDisk();
        Tool.Shell("mkdir a b c d; split -b 300000 --numeric-suffixes=1 -a 3 disk.raw a/x.; split -b 300000 -d -a 3 disk.raw b/x.; qemu-img convert -O vmdk disk.raw disk.vmdk; split -b 50000 --numeric-suffixes=1 -a 3 disk.vmdk c/x.vmdk.; qemu-img convert -O vpc disk.raw disk.vhd; head -c 70000 disk.vhd > d/x.vhd; tail -c +70001 disk.vhd > d/x.v01", _scratch.Folder);
        foreach ((string folder, string name) in ((string, string)[])[("a", "x.001"), ("b", "x.000"), ("c", "x.vmdk.001"), ("d", "x.vhd")])
        {
            Vm vm = Find(folder).Single();
            Assert.Empty(vm.Gaps);
            VmDisk disk = Assert.Single(vm.Disks);
            Assert.Equal(_scratch[Path.Combine(folder, name)], disk.Path);
            Assert.NotEmpty(disk.Plan.Files[0].More);
            AssertIsDisk(disk);
        }
    }

    [Fact]
    public void A_missing_piece_in_the_middle_is_a_gap()
    {
        MakeDisk();
        Tool.Shell("split -b 300000 --numeric-suffixes=1 -a 3 disk.raw x.; rm x.003 disk.raw", _scratch.Folder);
        Vm vm = Find("x.001").Single();
        Assert.Equal("missing-parent", Assert.Single(vm.Gaps).Fault);
        Assert.Single(vm.Disks[0].Plan.Files[0].More);
    }

    [Fact]
    public void An_ISO_is_a_raw_disk_whatever_its_first_bytes_say()
    {
        File.WriteAllBytes(_scratch["x.iso"], [.. "QFI\xFB"u8[..3], 0xFB, 0, 0, 0, 3, .. new byte[2040]]);
        Assert.Equal("raw", Find("x.iso").Single().Disks.Single().Plan.Declared);
        ScanResult result = HostileScan.Targets(_scratch["x.iso"]);
        Assert.Contains(result.Report.Targets.SelectMany(t => t.Findings), f => f.Rule == "HostileImage_FormatDisagrees");
    }

    [Fact]
    public void An_export_gives_its_disks_under_its_own_name()
    {
        MakeDisk();
        Write("ova.xml", """
            <value><struct><member><name>objects</name><value><array><data>
            <value><struct><member><name>class</name><value>VM</value></member><member><name>id</name><value>Ref:0</value></member><member><name>snapshot</name><value><struct><member><name>name_label</name><value>mail</value></member></struct></value></member></struct></value>
            <value><struct><member><name>class</name><value>VBD</value></member><member><name>id</name><value>Ref:1</value></member><member><name>snapshot</name><value><struct><member><name>type</name><value>Disk</value></member><member><name>VDI</name><value>Ref:4</value></member></struct></value></member></struct></value>
            <value><struct><member><name>class</name><value>VDI</value></member><member><name>id</name><value>Ref:4</value></member><member><name>snapshot</name><value><struct><member><name>virtual_size</name><value>4194304</value></member></struct></value></member></struct></value>
            </data></array></value></member></struct></value>
            """);
        Tool.Shell("mkdir Ref:4; split -b 1M -d -a 8 disk.raw Ref:4/; tar --format=ustar -cf x.xva ova.xml Ref:4/0*", _scratch.Folder);
        Vm vm = Find("x.xva").Single();
        Assert.Equal("mail", vm.Identity.Name);
        VmDisk disk = Assert.Single(vm.Disks);
        Assert.Equal(_scratch["x.xva"] + "/Ref:4", disk.Path);
        AssertIsDisk(disk);
    }

    [Theory]
    [InlineData("gv-ova", "truncated")]
    [InlineData("sc-ova", "corrupt")]
    public void Faulty_archives_of_others_are_gaps(string id, string fault)
    {
        Assert.SkipUnless(CorpusImages.IsThere, "no corpus");
        string path = CorpusImages.Unpack(CorpusImages.All().Single(i => i.Id == id), _scratch.Folder);
        ScanResult result = HostileScan.Targets(path);
        Assert.Equal(3, result.Status);
        Assert.Contains(result.Report.Targets.SelectMany(t => t.Gaps), g => g.Fault == fault);
    }

    [Fact]
    public void A_folder_finds_packages_and_does_not_read_their_files_twice()
    {
        MakeDisk();
        Tool.Shell("qemu-img convert -O vmdk disk.raw disk1.vmdk; rm disk.raw", _scratch.Folder);
        Write("x.ovf", OvfText.Of([("f1", "disk1.vmdk", "")], [("d1", "f1")], ("one", ["ovf:/disk/d1"])));
        Tool.Shell("tar -cf x.ova x.ovf disk1.vmdk", _scratch.Folder);
        List<Vm> vms = [.. new TargetFinder([]).Find(_scratch.Folder)];
        Assert.Equal(["x.ova/disk1.vmdk", "disk1.vmdk"], vms.SelectMany(v => v.Disks).Select(d => d.Path[(_scratch.Folder.Length + 1)..]));
    }

    private List<Vm> Find(string name) => [.. new TargetFinder([]).Find(_scratch[name])];

    private void Write(string name, string text) => File.WriteAllText(_scratch[name], text);

    private void MakeDisk() => Tool.Shell("truncate -s 4M disk.raw; mke2fs -q -F -t ext4 disk.raw; head -c 1000000 /dev/urandom | dd of=disk.raw bs=1M seek=2 conv=notrunc status=none iflag=fullblock; sha256sum disk.raw > sum", _scratch.Folder);

    /// <summary>The disk's content is that of <c>disk.raw</c>, however it is packed.</summary>
    private void AssertIsDisk(VmDisk disk)
    {
        var budget = new ScanBudget(64 << 20);
        var gaps = new GapList();
        using (var chain = new ChainOpener(disk.Plan, new ReadContext(budget, gaps)))
        {
            using VirtualDisk opened = chain.OpenDisk();
            Assert.Equal(File.ReadAllText(_scratch["sum"])[..64], opened.Content.Sha256(4 << 20));
            opened.Content.CheckSlices(opened.Content.ReadAll());
        }

        Assert.Empty(gaps.ToList());
        Assert.Equal(0, budget.InUse);
    }
}
