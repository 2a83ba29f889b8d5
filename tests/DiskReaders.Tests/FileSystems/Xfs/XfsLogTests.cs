using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>A file system that was cut off while it was written to is read as the kernel reads it after its own recovery.</summary>
public sealed class XfsLogTests
{
    // Files and folders come and go, so that blocks change what they are (cancelled buffers); trees grow and shrink; extents are shared.
    private const string Load = """
        mkdir mnt; mount -o loop$MOUNT image mnt; trap 'umount mnt 2>/dev/null || true' EXIT
        for round in $(seq 1 $ROUNDS); do
          mkdir -p mnt/dir$round/sub
          for i in $(seq 1 80); do printf "content $round $i" > mnt/dir$round/sub/file$i; done
          sync -f mnt
          head -c 300000 /dev/urandom > mnt/big$round
          for i in $(seq 1 40); do dd if=/dev/urandom of=mnt/pieces bs=4096 count=1 seek=$((i*3+round*200)) conv=notrunc status=none; done; sync mnt/pieces
          mv mnt/dir$round/sub/file1 mnt/moved$round; ln mnt/moved$round mnt/linked$round; ln -s target mnt/soft$round; ln -s $(printf 'y%.0s' $(seq 1 900)) mnt/long$round
          if [ $round -gt 1 ]; then rm -rf mnt/dir$((round-1)); head -c 200000 /dev/urandom > mnt/reuse$round; fi
          mkdir mnt/many$round; for i in $(seq 1 300); do : > "mnt/many$round/a rather long name to fill the blocks of the folder $i"; done
          for i in $(seq 1 3 300); do rm "mnt/many$round/a rather long name to fill the blocks of the folder $i"; done
          cp --reflink=auto mnt/big$round mnt/clone$round; dd if=/dev/urandom of=mnt/clone$round bs=4096 count=3 seek=10 conv=notrunc status=none
          truncate -s 100000 mnt/big$round; mkfifo mnt/fifo$round; fallocate -l 50000 mnt/unwritten$round
          sync mnt/big$round
        done
        printf last > mnt/last
        xfs_io -x -c "shutdown $HOW" mnt; umount mnt
        cp --sparse=always image recovered
        """;

    [Theory]
    [InlineData("-b size=4096", "", 3, "-f")]
    [InlineData("-b size=4096", "", 3, "")]
    [InlineData("-b size=1024", "", 4, "-f")]
    [InlineData("-b size=1024 -n size=8192", ",logbsize=256k", 3, "-f")]
    [InlineData("-b size=1024 -m rmapbt=1 -i nrext64=1", "", 3, "")]
    [InlineData("-b size=4096 -s size=4096 -l su=256k -m bigtime=0,reflink=0,finobt=0", ",logbsize=256k", 3, "-f")]
    [InlineData("-b size=4096 -i size=2048,sparse=0 -m inobtcount=0", "", 3, "-f")]
    [InlineData("-b size=2048 -i size=1024 -l su=32k -n size=65536", ",logbsize=64k", 3, "-f")]
    public void A_log_that_was_not_unmounted_is_replayed_as_the_kernel_does(string make, string mount, int rounds, string how)
    {
        using var scratch = new Scratch();
        Tool.Shell($"truncate -s 128M image; mkfs.xfs --unsupported -q -f {make} image; MOUNT={mount}; ROUNDS={rounds}; HOW={how}; {Load}", scratch.Folder);
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out FileSystemFacts facts);
        Assert.Contains(facts.Notes, n => n.StartsWith("log replayed: ", StringComparison.Ordinal));
        XfsListing.AssertEqual(XfsListing.Kernel(scratch["recovered"], "loop,nouuid"), ours);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_log_that_went_round_many_times_is_replayed_as_the_kernel_does()
    {
        using var scratch = new Scratch();
        Tool.Shell($"truncate -s 200M image; mkfs.xfs --unsupported -q -f -b size=4096 -l size=8m image; MOUNT=; ROUNDS=25; HOW=; {Load}", scratch.Folder);
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out FileSystemFacts facts);
        Assert.Contains(facts.Notes, n => n.StartsWith("log replayed: ", StringComparison.Ordinal));
        XfsListing.AssertEqual(XfsListing.Kernel(scratch["recovered"], "loop,nouuid"), ours);
    }

    [Fact]
    public void Without_the_replay_files_made_durable_would_be_missing()
    {
        using var scratch = new Scratch();
        Tool.Shell($"truncate -s 128M image; mkfs.xfs --unsupported -q -f -b size=4096 image; MOUNT=; ROUNDS=2; HOW=-f; {Load}", scratch.Folder);
        List<string> recovered = XfsListing.OursWithoutGaps(scratch["image"], out _);
        Assert.NotEqual(XfsListing.Kernel(scratch["image"], "loop,ro,norecovery,nouuid"), recovered);
    }

    [Fact]
    public void Files_unlinked_while_open_are_not_listed()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            truncate -s 64M image; mkfs.xfs --unsupported -q -f image; mkdir mnt; mount -o loop image mnt; trap 'umount mnt 2>/dev/null || true' EXIT
            printf kept > mnt/kept; exec 7> mnt/gone; printf gone >&7; rm mnt/gone; sync -f mnt; printf more >&7; sync mnt/kept
            xfs_io -x -c 'shutdown -f' mnt; exec 7>&-; umount mnt; trap - EXIT
            """, scratch.Folder);
        List<string> ours = XfsListing.OursWithoutGaps(scratch["image"], out _);
        string line = Assert.Single(ours);
        Assert.EndsWith(" kept", line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_log_on_another_device_is_a_gap()
    {
        using var scratch = new Scratch();
        Tool.Shell("truncate -s 64M image log; mkfs.xfs --unsupported -q -f -l logdev=log,size=8m image", scratch.Folder);
        var gaps = new GapList();
        _ = XfsListing.Ours(scratch["image"], gaps, out _);
        Assert.Contains(gaps.ToList(), g => g.Fault == Fault.Unsupported && g.Detail.Contains("another device", StringComparison.Ordinal));
    }

    [Fact]
    public void A_damaged_record_is_a_gap_and_what_comes_before_it_is_replayed()
    {
        using var scratch = new Scratch();
        byte[] image = [];
        int[] records = [];
        // How much of the log is left to replay is the kernel's choice: on a busy machine it has written most of it back already.
        for (int attempt = 0; attempt < 10 && records.Length <= 14; attempt++)
        {
            Tool.Shell($"rm -rf image mnt; truncate -s 128M image; mkfs.xfs --unsupported -q -f -b size=4096 image; MOUNT=; ROUNDS=12; HOW=-f; {Load}", scratch.Folder);
            image = File.ReadAllBytes(scratch["image"]);
            records = XfsRepair.ActiveRecords(image);
        }

        Assert.True(records.Length > 14, $"{records.Length} records are to be replayed");
        image[records[^12] + 700] ^= 1;
        var gaps = new GapList();
        using var source = new MemorySource(image);
        _ = XfsListing.Ours(source, gaps, out _);
        Assert.Contains(gaps.ToList(), g => g.Structure == "xlog_rec_header" && g.Detail.Contains("not replayed beyond", StringComparison.Ordinal));
    }
}
