using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Xfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>Listings of images that mkfs.xfs makes equal the kernel's.</summary>
public sealed class XfsContentTests
{
    [Theory]
    [InlineData("-b size=4096")]
    [InlineData("-b size=1024")]
    [InlineData("-b size=2048 -i size=1024")]
    [InlineData("-b size=1024 -n size=8192")]
    [InlineData("-b size=4096 -n size=65536")]
    [InlineData("-b size=4096 -s size=4096 -i size=2048")]
    [InlineData("-b size=4096 -m finobt=0,reflink=0,bigtime=0 -i sparse=0")]
    [InlineData("-b size=1024 -m rmapbt=1,inobtcount=1 -i nrext64=1")]
    [InlineData("-b size=1024 -d agcount=4,su=16k,sw=2 -l su=256k")]
    public void A_listing_equals_the_kernels(string options)
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, $"-L 'a label' {options}");
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out FileSystemFacts facts);
        Assert.Equal("xfs", facts.Kind);
        Assert.Equal("a label", facts.Label);
        Assert.Equal(Tool.Run("blkid", "-o", "value", "-s", "UUID", scratch["image"]).Trim(), facts.Id);
        Assert.Equal(96 << 20, facts.SizeBytes);
        Assert.Empty(facts.Notes);
        XfsListing.AssertEqual(XfsListing.Kernel(scratch["image"]), ours);
    }

    [Theory]
    [InlineData("-m crc=0")]
    [InlineData("-m crc=0 -b size=512")]
    [InlineData("-m crc=0 -b size=1024 -n size=4096")]
    [InlineData("-m crc=0 -b size=4096 -n ftype=0")]
    [InlineData("-m crc=0 -i attr=1 -l lazy-count=0,version=1")]
    [InlineData("-m crc=0 -b size=2048 -n version=ci -i projid32bit=0 -i size=1024")]
    [InlineData("-m crc=0 -b size=65536 -s size=32768 -n size=65536")]
    [InlineData("-m crc=1 -b size=4096 -n version=ci")]
    [InlineData("-m crc=1 -b size=8192")]
    [InlineData("-m crc=1 -b size=16384 -i size=512")]
    [InlineData("-m crc=1 -b size=65536 -n size=65536")]
    [InlineData("-m crc=1 -b size=1024 -i nrext64=1")]
    public void What_the_kernel_here_refuses_equals_the_folder_it_was_made_of(string options)
    {
        using var scratch = new Scratch();
        XfsImages.MakeFromPrototype(scratch, options, "400M");
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out _);
        XfsListing.AssertEqual(XfsListing.OfFolder(scratch["tree"]), ours);
    }

    [Fact]
    public void Another_uuid_than_the_metadata_has_is_no_fault()
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, "-b size=1024");
        Tool.Shell("xfs_admin -U 11111111-2222-3333-4444-555555555555 image", scratch.Folder);
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out FileSystemFacts facts);
        Assert.Equal("11111111-2222-3333-4444-555555555555", facts.Id);
        XfsListing.AssertEqual(XfsListing.Kernel(scratch["image"]), ours);
    }

    [Fact]
    public void A_grown_file_system_is_read_to_its_new_end()
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, "-b size=4096 -d agcount=2");
        Tool.Shell("truncate -s 200M image; mount -o loop image mnt; trap 'umount mnt' EXIT; xfs_growfs mnt >/dev/null; mkdir mnt/later; for i in $(seq 1 20); do mkdir mnt/later/$i; head -c 3000000 /dev/urandom > mnt/later/$i/file; done", scratch.Folder);
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out _);
        XfsListing.AssertEqual(XfsListing.Kernel(scratch["image"]), ours);
    }

    [Fact]
    public void A_file_system_without_its_first_sectors_is_read_by_its_copies()
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, "-b size=4096");
        List<string> whole = XfsListing.OursWithoutGaps(scratch["image"], out _);
        Tool.Shell("dd if=/dev/zero of=image bs=512 count=1 conv=notrunc status=none", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        Assert.False(new XfsFormat().Probe(source));
        Assert.True(new XfsFormat().ProbeCopy(source));
        var gaps = new GapList();
        XfsListing.AssertEqual(whole, XfsListing.Ours(source, gaps, out _));
        Assert.Contains(gaps.ToList(), g => g.Structure == "xfs_dsb" && g.Detail.Contains("the copy at", StringComparison.Ordinal));
    }

    [Fact]
    public void Files_of_a_realtime_device_are_listed_and_are_gaps()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            truncate -s 64M image; mkfs.xfs --unsupported -q -f image; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            printf plain > mnt/plain; head -c 100000 /dev/urandom > mnt/real; inode=$(stat -c %i mnt/real); umount mnt; trap - EXIT
            xfs_db -x -c "inode $inode" -c 'write core.realtime 1' image >/dev/null
            """, scratch.Folder);
        List<string> ours = XfsListing.Ours(scratch["image"], new GapList(), out _);
        Assert.Equal(2, ours.Count);
        Assert.Contains("F 100000 Unsupported real", ours);
        Assert.Contains(ours, l => l.EndsWith(" plain", StringComparison.Ordinal));
    }

    [Fact]
    public void A_file_system_that_asks_for_repair_says_so()
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, "-b size=4096");
        Tool.Shell("xfs_db -x -c 'sb 0' -c 'write features_incompat 0x1b' image >/dev/null", scratch.Folder);
        var gaps = new GapList();
        List<string> ours = XfsListing.Ours(scratch["image"], gaps, out _);
        Assert.NotEmpty(ours);
        Assert.Contains(gaps.ToList(), g => g.Detail.Contains("needs repair", StringComparison.Ordinal));
    }

    [Fact]
    public void Any_slicing_of_a_file_equals_one_read()
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, "-b size=1024");
        using var source = new FileSource(scratch["image"]);
        var budget = new ScanBudget(64 << 20);
        using (IFileSystem system = new XfsFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            var random = new Random(5);
            foreach (GuestFile file in system.Walk().Where(f => f.Kind == GuestFileKind.Regular && f.SizeBytes is > 1000 and < 4_000_000))
            {
                using IBlockSource content = system.OpenContent(file);
                byte[] whole = content.ReadAll();
                byte[] sliced = new byte[whole.Length];
                for (int at = 0; at < sliced.Length;)
                {
                    int count = Math.Min(sliced.Length - at, 1 + random.Next(9000));
                    content.Read(at, sliced.AsSpan(at, count));
                    at += count;
                }

                Assert.True(whole.AsSpan().SequenceEqual(sliced));
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_walk_that_is_left_early_returns_its_memory()
    {
        using var scratch = new Scratch();
        XfsImages.Make(scratch, "-b size=1024");
        using var source = new FileSource(scratch["image"]);
        var budget = new ScanBudget(64 << 20);
        using (IFileSystem system = new XfsFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            _ = system.Walk().Take(3).ToList();
        }

        Assert.Equal(0, budget.InUse);
    }
}
