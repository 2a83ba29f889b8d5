using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>An image copied while its file system was written to is read as the kernel reads it after its own recovery.</summary>
public sealed class ExtJournalTests
{
    // Files come and go, folders become files' blocks (revocations), content holds the journal's magic number (escaped blocks).
    private const string Load = """
        mkdir mnt; mount -o loop,$MOUNT image mnt
        trap 'umount mnt' EXIT
        for round in $(seq 1 $ROUNDS); do
          mkdir -p mnt/dir$round/sub
          for i in $(seq 1 60); do printf "content $round $i" > mnt/dir$round/sub/file$i; done
          sync -f mnt
          printf '\xc0\x3b\x39\x98 magic at the start' > mnt/magic$round
          head -c 300000 /dev/urandom > mnt/big$round
          for i in $(seq 1 20); do head -c 20000 /dev/urandom >> mnt/fragments; sync mnt/fragments; done
          mv mnt/dir$round/sub/file1 mnt/moved$round; ln mnt/moved$round mnt/linked$round; ln -s target mnt/soft$round
          if [ $round -gt 1 ]; then rm -rf mnt/dir$((round-1)); head -c 200000 /dev/urandom > mnt/reuse$round; fi
          sync mnt/big$round mnt/magic$round
        done
        sync mnt/big$ROUNDS
        cp --sparse=always image dirty
        """;

    [Theory]
    [InlineData("-t ext4 -b 4096", "data=ordered", 4)]
    [InlineData("-t ext4 -b 1024", "data=ordered", 4)]
    [InlineData("-t ext4 -b 4096", "data=journal", 4)]
    [InlineData("-t ext4 -b 1024", "data=journal", 6)]
    [InlineData("-t ext4 -b 1024 -O ^metadata_csum", "data=ordered,journal_checksum", 4)]
    [InlineData("-t ext4 -b 1024 -O ^metadata_csum,^64bit", "data=journal", 4)]
    [InlineData("-t ext4 -b 1024 -O ^64bit", "data=journal", 3)]
    [InlineData("-t ext3 -b 1024", "data=journal", 4)]
    [InlineData("-t ext3 -b 4096", "data=ordered", 4)]
    [InlineData("-t ext4 -b 1024 -O inline_data,orphan_file", "journal_async_commit,data=writeback", 4)]
    [InlineData("-t ext4 -b 1024 -J size=1", "data=journal", 8)]
    public void A_dirty_journal_is_replayed_as_the_kernel_does(string make, string mount, int rounds)
    {
        using var scratch = new Scratch();
        Tool.Shell($"mke2fs -q -F {make} image 48M; MOUNT={mount}; ROUNDS={rounds}; {Load}", scratch.Folder);
        Tool.Shell("cp --sparse=always dirty recovered", scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["dirty"], out FileSystemFacts facts);
        Assert.Contains(facts.Notes, n => n.StartsWith("journal replayed: ", StringComparison.Ordinal));
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["recovered"], "loop"), ours);
    }

    private const string FastLoad = """
        mkdir mnt; mount -o loop image mnt
        trap 'umount mnt' EXIT
        mkdir mnt/d; for i in $(seq 1 30); do printf "old $i" > mnt/d/old$i; done; head -c 500000 /dev/urandom > mnt/large; sync -f mnt
        for i in $(seq 1 30); do printf "content $i" > mnt/f$i; sync mnt/f$i; done
        mkdir mnt/new mnt/new/deeper; head -c 30000 /dev/urandom > mnt/new/r; printf deep > mnt/new/deeper/x; sync mnt/new/r mnt/new/deeper/x
        rm mnt/f3 mnt/d/old4; ln mnt/f4 mnt/hard4; printf more >> mnt/f4; sync mnt/f4
        mv mnt/d/old5 mnt/d/renamed5; mv mnt/d/old6 mnt/d/old7; mv mnt/d/old8 mnt/new/moved8; ln -s target mnt/soft; printf y > mnt/y; sync mnt/y
        for at in 9 3 40 41 7; do dd if=/dev/urandom of=mnt/holes bs=4096 count=1 seek=$at conv=notrunc status=none; sync mnt/holes; done
        truncate -s 100000 mnt/large; sync mnt/large; fallocate -p -o 8192 -l 20000 mnt/large; fallocate -l 300000 mnt/large; sync mnt/large
        rm mnt/f5; printf again > mnt/f5; sync mnt/f5; rm -r mnt/new/deeper; printf z > mnt/z; sync mnt/z
        cp --sparse=always image dirty
        """;

    [Theory]
    [InlineData("-t ext4 -b 1024 -O fast_commit")]
    [InlineData("-t ext4 -b 4096 -O fast_commit")]
    [InlineData("-t ext4 -b 1024 -O fast_commit,^metadata_csum,^64bit")]
    public void Fast_commits_are_replayed_as_the_kernel_does(string make)
    {
        using var scratch = new Scratch();
        Tool.Shell($"mke2fs -q -F {make} image 64M; {FastLoad}", scratch.Folder);
        Tool.Shell("cp --sparse=always dirty recovered", scratch.Folder);
        var gaps = new GapList();
        List<string> ours = ExtListing.Ours(scratch["dirty"], gaps, out FileSystemFacts facts);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["recovered"], "loop"), ours);
        Assert.Empty(gaps.ToList());
        Assert.Contains(facts.Notes, n => n.StartsWith("fast commits replayed: ", StringComparison.Ordinal));
    }

    [Fact]
    public void Without_the_replay_files_made_durable_would_be_missing()
    {
        using var scratch = new Scratch();
        Tool.Shell($"mke2fs -q -F -t ext4 -b 1024 image 48M; MOUNT=data=ordered; ROUNDS=3; {Load}", scratch.Folder);
        List<string> recovered = ExtListing.Ours(scratch["dirty"], new GapList(), out _);
        // The feature bit that says so, and with it the superblock's checksum, is taken away.
        Tool.Shell("debugfs -w -R 'feature -needs_recovery' dirty 2>/dev/null", scratch.Folder);
        List<string> stale = ExtListing.Ours(scratch["dirty"], new GapList(), out FileSystemFacts facts);
        Assert.Empty(facts.Notes);
        Assert.NotEqual(recovered, stale);
    }

    [Fact]
    public void A_journal_on_another_device_is_a_gap()
    {
        using var scratch = new Scratch();
        Tool.Shell("mke2fs -q -F -t ext4 -b 1024 image 8M; debugfs -w -R 'ssv journal_inum 0' image 2>/dev/null; debugfs -w -R 'feature needs_recovery' image 2>/dev/null", scratch.Folder);
        var gaps = new GapList();
        _ = ExtListing.Ours(scratch["image"], gaps, out _);
        Assert.Contains(gaps.ToList(), g => g.Fault == Fault.Unsupported && g.Detail.Contains("another device", StringComparison.Ordinal));
    }
}
