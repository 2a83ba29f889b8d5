using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Files of one device against the kernel's mount.</summary>
public sealed class BtrfsContentTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("", "")]
    [InlineData("-n 4096", "compress-force=zlib")]
    [InlineData("-n 65536", "compress-force=lzo")]
    [InlineData("--csum xxhash", "compress-force=zstd")]
    [InlineData("--csum sha256 -O ^no-holes,^extref", "compress=zlib:9")]
    [InlineData("--csum blake2 -M", "compress-force=zstd:15,max_inline=4095")]
    [InlineData("-m dup -d dup", "nodatasum")]
    [InlineData("", "compress-force=lzo,max_inline=4095")]
    public void What_is_read_equals_the_kernels_mount(string mkfs, string options)
    {
        string[] image = BtrfsImages.Make(_scratch, 1, mkfs, BtrfsImages.Mixture, options, "260M");
        List<string> ours = BtrfsListing.OursWithoutGaps(image, out FileSystemFacts facts);
        ExtListing.AssertEqual(BtrfsListing.Kernel(image), ours);
        Assert.Equal("btrfs", facts.Kind);
        Assert.Equal(Tool.Run("blkid", "-o", "value", "-s", "UUID", image[0]).Trim(), facts.Id);
        Assert.Equal(new FileInfo(image[0]).Length, facts.SizeBytes);
    }

    [Fact]
    public void Subvolumes_and_snapshots_are_folders_and_those_without_a_place_are_orphans()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "-L label", """
            btrfs -q subvolume create sub; echo one > sub/one; mkdir -p dir/deep; btrfs -q subvolume create dir/deep/nested; echo two > dir/deep/nested/two
            btrfs -q subvolume create sub/inner; echo three > sub/inner/three; btrfs -q subvolume snapshot -r sub snap; btrfs -q subvolume snapshot sub sub/self
            echo changed > sub/one; btrfs -q subvolume snapshot . all; btrfs -q subvolume create gone; echo x > gone/x; sync; btrfs -q subvolume delete gone
            mv sub renamed; btrfs subvolume set-default renamed
            """);
        List<string> ours = BtrfsListing.OursWithoutGaps(image, out FileSystemFacts facts);
        ExtListing.AssertEqual(BtrfsListing.Kernel(image), ours);
        Assert.Contains("D snap/inner", ours);
        Assert.DoesNotContain(ours, l => l.EndsWith("snap/inner/three", StringComparison.Ordinal));
        Assert.Equal("label", facts.Label);
    }

    [Fact]
    public void An_aged_file_system_equals_the_kernels_mount()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "-n 4096", """
            for round in 1 2 3 4 5; do
              mkdir -p r$round; for i in $(seq 1 250); do head -c $((RANDOM * 3)) /dev/urandom > r$round/f$i; seq 1 $RANDOM > r$round/t$i; done
              sync; for i in $(seq 1 3 250); do rm r$round/f$i; mv r$round/t$i "r$round/renamed to something longer $i"; done
              for i in $(seq 2 3 250); do dd if=/dev/urandom of=r$round/f$i bs=3000 seek=$((RANDOM % 30)) count=2 conv=notrunc status=none; truncate -s $((RANDOM * 2)) r$round/t$i; done
              btrfs -q subvolume snapshot . snap$round
            done
            rm -r r2; for i in $(seq 1 400); do dd if=/dev/urandom of=pieces bs=4096 seek=$((RANDOM % 2000)) count=1 conv=notrunc,fsync status=none; done
            head -c 900M /dev/urandom > full 2>/dev/null || true
            """, "compress=zstd", "700M");
        ExtListing.AssertEqual(BtrfsListing.Kernel(image), BtrfsListing.OursWithoutGaps(image, out _));
    }

    [Fact]
    public void A_balance_in_progress_and_a_resized_device_are_read()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "", BtrfsImages.Mixture + "\n" + """
            btrfs -q subvolume snapshot . before; btrfs balance start --full-balance . >/dev/null; btrfs filesystem resize -20M . >/dev/null; rm large
            """, "", "400M");
        ExtListing.AssertEqual(BtrfsListing.Kernel(image), BtrfsListing.OursWithoutGaps(image, out FileSystemFacts facts));
        Assert.Equal((400L - 20) << 20, facts.SizeBytes);
    }

    [Fact]
    public void A_file_deleted_while_open_is_not_listed()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "", "exec 9> open; echo still > open; rm open; sync; cp --sparse=always ../dev0 ../copy; sync");
        Assert.Equal([], BtrfsListing.OursWithoutGaps([_scratch["copy"]], out _));
        Assert.Single(image);
    }

    [Fact]
    public void Any_slicing_of_reads_gives_what_one_read_gives()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "", BtrfsImages.Mixture, "compress-force=zstd");
        using var source = new FileSource(image[0]);
        var budget = new ScanBudget(64 << 20);
        using (IFileSystem system = new BtrfsFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            var random = new Random(7);
            foreach (GuestFile file in system.Walk().Where(f => f.Kind == GuestFileKind.Regular && f.SizeBytes > 0 && f.Links[0].Folder.Parent is null))
            {
                using IBlockSource content = system.OpenContent(file);
                byte[] whole = content.ReadAll();
                for (int i = 0; i < 60; i++)
                {
                    int at = random.Next(whole.Length);
                    byte[] part = new byte[random.Next(1, Math.Min(whole.Length - at, 1 << random.Next(1, 20)) + 1)];
                    content.Read(at, part);
                    Assert.True(part.AsSpan().SequenceEqual(whole.AsSpan(at, part.Length)), $"{part.Length} bytes at {at} of {file.Id}");
                    StoredExtent extent = content.Locate(at, whole.Length - at);
                    Assert.InRange(extent.Length, 1, whole.Length - at);
                    Assert.True(extent.IsStored || !whole.AsSpan(at, (int)extent.Length).ContainsAnyExcept((byte)0));
                }
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void Shared_extents_begin_at_the_same_byte()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "", "btrfs -q subvolume create s; head -c 500000 /dev/urandom > s/f; sync; btrfs -q subvolume snapshot s t; cp --reflink=always s/f g");
        using var source = new FileSource(image[0]);
        using IFileSystem system = new BtrfsFormat().Open(source, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        long[] first = [.. system.Walk().Where(f => f.Kind == GuestFileKind.Regular).Select(f => f.FirstByte)];
        Assert.Equal(3, first.Length);
        Assert.Single(first.Distinct());
        Assert.True(first[0] > 0);
    }
}
