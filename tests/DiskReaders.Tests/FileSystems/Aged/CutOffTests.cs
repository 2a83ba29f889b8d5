using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.DiskReaders.Tests.FileSystems.Xfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Aged;

/// <summary>
/// A mounted device that is written to all the time is copied at one moment, in the middle of whatever was under way: the copy is read as the
/// kernel reads it after replaying its log. The copies are shared extents of an XFS below, which makes each of them one point in time.
/// </summary>
[Trait("Category", "Slow")]
public sealed class CutOffTests : IDisposable
{
    private const int Copies = 4;
    private readonly Scratch _scratch = new();

    public void Dispose()
    {
        Tool.Try("umount", _scratch.Folder, [_scratch["host"]]);
        _scratch.Dispose();
    }

    [Theory]
    [InlineData("-t ext4 -b 4096", "", 1)]
    [InlineData("-t ext4 -b 1024 -O inline_data,orphan_file", ",data=journal", 2)]
    [InlineData("-t ext4 -b 1024 -O fast_commit", "", 3)]
    public void Ext(string make, string mount, int seed)
    {
        CopyUnderLoad("160M", $"mke2fs -q -F {make} image", $"loop{mount}", seed);
        foreach (string copy in CopiesMade())
        {
            List<string> ours = ExtListing.OursWithoutGaps(copy, out _);
            if (make.Contains("fast_commit", StringComparison.Ordinal))
            {
                DropTornFastCommit(copy);
            }

            ExtListing.AssertEqual(ExtListing.Kernel(copy, "loop"), ours);
        }
    }

    // The kernel refuses the mount when the first fast commit after a full one was cut off while it was written. Such a commit never
    // happened: the reference is the same copy without it. The area is the journal's last 64 blocks, of which the first is not used.
    private void DropTornFastCommit(string copy)
    {
        Directory.CreateDirectory(_scratch["try"]);
        if (Tool.Try("mount", null, ["-o", "loop", copy, _scratch["try"]]).Status == 0)
        {
            Tool.Run("umount", _scratch["try"]);
            return;
        }

        Tool.Shell($$"""
            blocks=$(dumpe2fs -h '{{copy}}' 2>/dev/null | sed -n 's/^Total journal blocks: *//p')
            dd if=/dev/zero of='{{copy}}' bs=1024 seek=$(debugfs -R "bmap <8> $((blocks - 63))" '{{copy}}' 2>/dev/null) count=1 conv=notrunc status=none
            """, _scratch.Folder);
    }

    [Theory]
    [InlineData("-b size=4096", "", 4)]
    [InlineData("-b size=1024 -m rmapbt=1", ",logbsize=256k", 5)]
    public void Xfs(string make, string mount, int seed)
    {
        CopyUnderLoad("200M", $"mkfs.xfs --unsupported -q -f {make} image", $"loop,nouuid{mount}", seed);
        foreach (string copy in CopiesMade())
        {
            var gaps = new GapList();
            List<string> ours = XfsListing.Ours(copy, gaps, out _);

            // An intent that the log does not finish is work that the guest's own kernel does after its replay: said, not done.
            Assert.All(gaps.ToList(), g => Assert.Contains("intent", g.Detail, StringComparison.Ordinal));
            XfsListing.AssertEqual(XfsListing.Kernel(copy, "loop,nouuid"), ours);
        }
    }

    [Theory]
    [InlineData("", "compress=zstd,commit=3", 6)]
    [InlineData("-n 4096", "commit=100", 7)]
    public void Btrfs(string make, string mount, int seed)
    {
        CopyUnderLoad("400M", $"mkfs.btrfs -q -f {make} image", $"loop,{mount}", seed);
        foreach (string copy in CopiesMade())
        {
            List<string> ours = BtrfsListing.OursWithoutGaps([copy], out _);
            ExtListing.AssertEqual(BtrfsListing.Kernel([copy], "rw"), ours);
        }
    }

    private IEnumerable<string> CopiesMade() => Enumerable.Range(1, Copies).Select(i => Path.Combine(_scratch["host"], $"copy{i}"));

    private void CopyUnderLoad(string size, string make, string mount, int seed)
    {
        string age = Aging.Write(_scratch);
        Tool.Shell($$"""
            truncate -s 3G xfs; mkfs.xfs -q -m reflink=1 xfs; mkdir host mnt; mount -o loop xfs host; cd host
            truncate -s {{size}} image; {{make}}; mount -o {{mount}} image ../mnt
            python3 {{age}} ../mnt {{seed}} 400 0 links
            python3 {{age}} ../mnt {{seed + 50}} 0 0 links & load=$!
            trap 'kill $load 2>/dev/null || true; wait $load 2>/dev/null || true; umount ../mnt' EXIT
            for i in $(seq 1 {{Copies}}); do sleep 0.$((RANDOM % 9 + 1)); kill -0 $load; cp --reflink=always image copy$i; done
            """, _scratch.Folder);
    }
}
