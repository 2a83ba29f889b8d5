using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection;

/// <summary>Disks that a file system covers and that a partition table divides nevertheless.</summary>
public sealed class TwofoldDiskTests
{
    /// <summary>As distributions make their installation discs: an MBR, a partition for firmware behind the files, HFS+ for Macs over the same files.</summary>
    private static readonly Lazy<byte[]> Disc = new(() => Make("""
        truncate -s 1M esp; mkfs.fat esp >/dev/null; echo boot > boot; mcopy -i esp boot ::
        xorriso -as mkisofs -o disk -R -hfsplus -append_partition 2 0xef esp tree > /dev/null 2>&1
        """));

    [Fact]
    public void A_disc_that_boots_as_a_disk_is_read_as_both()
    {
        var gaps = new GapList();
        Assert.Equal(["v1 iso9660 a,b", "v2 hfsplus ", "v3 fat12 boot"], Volumes(Disc.Value, gaps, out string scheme));
        Assert.Equal(["v2"], gaps.ToList().Select(g => g.Path));
        Assert.Equal("apm", scheme);
    }

    [Theory]
    [InlineData("mke2fs -q -F -t ext4 -d tree disk 3M", "ext4")]
    [InlineData("mkfs.erofs --quiet disk tree >/dev/null 2>&1", "erofs")]
    public void A_file_system_before_which_a_table_stands_hides_no_partition(string make, string kind)
    {
        byte[] disk = Make($$"""
            PATH=$PATH:/sbin:/usr/sbin
            {{make}}; truncate -s 8M disk; mkdir inner; echo x > inner/hidden; mke2fs -q -F -t ext4 -d inner part 3M
            printf 'label: dos\nstart=8192,type=83\n' | sfdisk -q -w never -W never disk; dd if=part of=disk bs=512 seek=8192 conv=notrunc status=none
            """);
        var gaps = new GapList();
        Assert.Equal([$"v1 {kind} a,b", "v2 ext4 hidden"], Volumes(disk, gaps, out string scheme));
        Assert.Equal("partition table", Assert.Single(gaps.ToList()).Structure);
        Assert.Equal("mbr", scheme);
    }

    [Theory]
    [InlineData("mke2fs -q -F -t ext4 -d tree disk 3M", "v1 ext4 a,b")]
    [InlineData("genisoimage -quiet -R -o disk tree", "v1 iso9660 a,b")]
    public void A_table_whose_partitions_hold_nothing_known_is_none(string make, string volume)
    {
        byte[] disk = Make($"PATH=$PATH:/sbin:/usr/sbin\n{make}; truncate -s 8M disk; printf 'label: dos\\nstart=8192,type=83\\n' | sfdisk -q -w never -W never disk");
        var gaps = new GapList();
        Assert.Equal([volume], Volumes(disk, gaps, out string scheme));
        Assert.Empty(gaps.ToList());
        Assert.Equal("none", scheme);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_tables_give_volumes_or_a_fault() =>
        Mutations.Check(Disc.Value, (bytes, context) => Volumes(bytes, context, out _), [(0, 4096), (32768, 2048)], budgetBytes: 64 << 20);

    private static byte[] Make(string script)
    {
        using var scratch = new Scratch();
        Tool.Shell("mkdir tree; echo 1 > tree/a; echo 2 > tree/b\n" + script, scratch.Folder);
        return File.ReadAllBytes(scratch["disk"]);
    }

    private static List<string> Volumes(byte[] image, GapList gaps, out string scheme)
    {
        var budget = new ScanBudget(64 << 20);
        List<string> volumes = Volumes(image, new ReadContext(budget, gaps), out scheme);
        Assert.Equal(0, budget.InUse);
        return volumes;
    }

    private static List<string> Volumes(byte[] image, ReadContext context, out string scheme)
    {
        using var source = new MemorySource(image);
        using var chain = new FolderChain((_, _) => null, [], context);
        VirtualDisk disk = new RawFormat().Open(new ImageFile("disk", 0, source), chain, context);
        using InspectedVm vm = DiskInspector.Inspect([new OpenedDisk(disk, "disk", "")], context);
        scheme = vm.Disks[0].Scheme;
        return [.. vm.Volumes.Select(v => $"{v.Id} {v.Kind} {string.Join(',', Files(v))}")];
    }

    private static IEnumerable<string> Files(InspectedVolume volume) =>
        (volume.FileSystem?.Walk() ?? []).Where(f => f.Kind == DiskReaders.FileSystems.GuestFileKind.Regular)
            .Select(f => System.Text.Encoding.UTF8.GetString(f.Links[0].Path())).Order(StringComparer.Ordinal);
}
