using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>What fsync wrote after the last commit: copies of a mounted device against the kernel's replay of the same copy.</summary>
public sealed class BtrfsLogTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("echo new > new; sync -f new 2>/dev/null; echo newer > a/newer; fsync a/newer")]
    [InlineData("head -c 700000 /dev/urandom > big; fsync big; dd if=/dev/urandom of=large bs=5000 seek=7 count=30 conv=notrunc,fsync status=none")]
    [InlineData("printf more >> inline; fsync inline; truncate -s 50 text; fsync text; truncate -s 900000 sparse; fsync sparse")]
    [InlineData("mv text text9; fsync text9; mv inline a/b/moved; fsync a/b/moved; echo z > z; fsync z")]
    [InlineData("rm text; fsync .; rm -r many; fsync .; mkdir c; echo c > c/c; fsync c/c")]
    [InlineData("ln text text2; fsync text; rm text; ln large a/large; fsync large; fsync a")]
    [InlineData("mv text old; echo other > text; fsync text; fsync old")]
    [InlineData("mkdir d; for i in $(seq 1 60); do echo $i > d/f$i; done; fsync d; rm d/f3; fsync d; fsync d/f9; echo x >> d/f10; fsync d/f10")]
    [InlineData("fallocate -l 2000000 pre; fsync pre; dd if=/dev/urandom of=pre bs=4096 seek=40 count=3 conv=notrunc,fsync status=none; fallocate -p -o 100000 -l 300000 large; fsync large")]
    [InlineData("cp --reflink=always large l2; fsync l2; ln -s x sym; fsync .; mknod n2 p; fsync .")]
    [InlineData("btrfs -q subvolume create s; sync; echo in > s/in; fsync s/in; echo top > top; fsync top; rm s/in; fsync s")]
    [InlineData("rm tiny; echo again > tiny; fsync tiny; mv a/b a/e; fsync a/e; mv a/e a/b; echo q > a/b/q; fsync a/b/q")]
    [InlineData("for i in $(seq 1 40); do mv \"many/a name of some length $i\" many/m$i; done; fsync many; for i in $(seq 41 60); do rm \"many/a name of some length $i\"; done; fsync many")]
    public void A_copy_taken_after_fsync_equals_the_kernels_replay(string change)
    {
        string copy = _scratch["copy"];
        string log = "0";
        // When to commit is the kernel's choice: on a busy machine it may do so between the last fsync and the copy, and then no log is left, or while
        // the copy is made, and then that is of two moments.
        for (int attempt = 0; attempt < 10 && (log == "0" || !IsOfOneMoment(copy)); attempt++)
        {
            Tool.Shell("rm -f dev0 copy", _scratch.Folder);
            Assert.Single(BtrfsImages.Make(_scratch, 1, "", $$"""
                {{BtrfsImages.Mixture}}
                fsync() { python3 -c 'import os,sys; f=os.open(sys.argv[1], os.O_RDONLY); os.fsync(f)' "$1"; }
                sync; {{change}}; echo last > last; fsync last
                cp --sparse=always ../dev0 ../copy
                """, "commit=300"));
            log = Tool.Shell($"btrfs inspect-internal dump-super {copy} | awk '$1 == \"log_root\" {{ print $2 }}'").Trim();
        }

        Assert.NotEqual("0", log);
        Assert.True(IsOfOneMoment(copy), "the kernel committed during each copy");
        List<string> ours = BtrfsListing.OursWithoutGaps([copy], out FileSystemFacts facts);
        ExtListing.AssertEqual(BtrfsListing.Kernel([copy], "rw"), ours);
        Assert.Contains(facts.Notes, n => n.StartsWith("log tree replayed", StringComparison.Ordinal));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_copy_of_a_device_under_load_equals_the_kernels_mount()
    {
        string[] image = BtrfsImages.Make(_scratch, 1, "", """
            fsync() { python3 -c 'import os,sys; f=os.open(sys.argv[1], os.O_RDONLY); os.fsync(f)' "$1"; }
            mkdir d; for i in $(seq 1 300); do echo $i > d/f$i; done; sync
            for i in $(seq 1 120); do
              case $((RANDOM % 7)) in
                0) echo $RANDOM > d/n$i; fsync d/n$i;;
                1) rm -f d/f$((RANDOM % 300)); fsync d;;
                2) dd if=/dev/urandom of=d/f$((RANDOM % 40 + 1)) bs=3000 seek=$((RANDOM % 9)) count=3 conv=notrunc,fsync status=none;;
                3) mv d/f$((RANDOM % 300)) d/m$i 2>/dev/null && fsync d/m$i || true;;
                4) ln d/f$((RANDOM % 300)) d/l$i 2>/dev/null && fsync d/l$i || true;;
                5) mkdir -p e$i/x; echo $i > e$i/x/y; fsync e$i/x/y;;
                6) truncate -s $((RANDOM)) d/f7$((RANDOM % 9)); fsync d/f71 2>/dev/null || true;;
              esac
              [ $((i % 15)) = 0 ] && cp --sparse=always ../dev0 ../copy$((i / 15)) || true
            done
            """, "commit=300");
        Assert.Single(image);
        string[] sound = [.. Enumerable.Range(1, 8).Select(i => _scratch[$"copy{i}"]).Where(IsOfOneMoment)];
        Assert.True(sound.Length >= 3, $"the kernel committed during {8 - sound.Length} of 8 copies");
        foreach (string copy in sound)
        {
            List<string> ours = BtrfsListing.OursWithoutGaps([copy], out _);
            ExtListing.AssertEqual(BtrfsListing.Kernel([copy], "rw"), ours);
        }
    }

    /// <summary>A commit writes all copies of the superblock: a device that was copied meanwhile has two generations of it.</summary>
    private static bool IsOfOneMoment(string device) =>
        Tool.Shell($"btrfs inspect-internal dump-super -a {device} | awk '$1 == \"generation\" {{ print $2 }}' | sort -u").Split('\n', StringSplitOptions.RemoveEmptyEntries).Length == 1;
}
