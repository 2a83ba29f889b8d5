using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.DiskReaders.Tests.FileSystems.SquashFs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Erofs;

/// <summary>What mkfs.erofs makes reads as the kernel and fsck.erofs read it.</summary>
public sealed class ErofsListingTests
{
    // The tree is that of SquashFS; mkfs.erofs 1.5 fails on names of 255 bytes.
    internal static readonly string Tree = SquashFsListingTests.Tree.Replace("seq 1 255", "seq 1 254", StringComparison.Ordinal);

    private static readonly ErofsFormat Format = new();

    [Theory]
    [InlineData("")]
    [InlineData("-E noinline_data,force-inode-extended")]
    [InlineData("-E force-inode-compact,nosbcrc")]
    [InlineData("-E force-chunk-indexes --chunksize=4096")]
    [InlineData("--chunksize=65536")]
    [InlineData("-zlz4")]
    [InlineData("-zlz4hc,12 -C 65536")]
    [InlineData("-zlz4hc -C 1048576")]
    [InlineData("-zlz4 -E legacy-compress")]
    [InlineData("-zlz4hc -E legacy-compress -C 16384")]
    [InlineData("-zlz4hc -E ztailpacking")]
    [InlineData("-zlz4 -C 32768 -E ztailpacking,force-inode-extended")]
    [InlineData("-zlz4hc --max-extent-bytes=20000 -x-1 --all-root")]
    public void A_tree_equals_the_kernels_mount(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nsetfattr -n user.a -v value tree/text || true\nmkfs.erofs --quiet {options} image tree > log 2>&1 || (cat log >&2; exit 1)", scratch.Folder);
        List<string> ours = PackedListing.OursWithoutGaps(Format, scratch["image"]);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ours);
        Assert.True(ours.Count > 700);
    }

    [Fact]
    public void Content_equals_what_fsck_extracts()
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmkfs.erofs --quiet -zlz4hc image tree > /dev/null 2>&1; fsck.erofs --extract=out image > log 2>&1 || true", scratch.Folder);
        List<string> ours = [.. PackedListing.OursWithoutGaps(Format, scratch["image"]).Where(l => l[0] == 'F')];
        ExtListing.AssertEqual([.. ExtListing.OfFolder(scratch["out"]).Where(l => l[0] == 'F')], ours);
    }

    [Fact]
    public void Data_on_another_device_is_missing_and_said_so()
    {
        using var scratch = new Scratch();
        Tool.Shell("mkdir tree; head -c 300000 /dev/urandom > tree/f; printf x > tree/g; mkfs.erofs --quiet --chunksize=4096 --blobdev=blob image tree > /dev/null 2>&1", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        var gaps = new GapList();
        List<string> lines = PackedListing.Ours(Format, source, gaps, out _);
        Assert.Contains("F 300000 MissingParent f", lines);
        Assert.All(gaps.ToList(), g => Assert.Equal(Fault.MissingParent, g.Fault));
        Assert.NotEmpty(gaps.ToList());
    }

    [Theory]
    [InlineData("-zlz4hc -C 65536")]
    [InlineData("")]
    public void Any_slicing_of_reads_equals_one_read_and_links_are_one_file(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmkfs.erofs --quiet {options} -U 7a1b0000-0000-4000-8000-00000000000f image tree > /dev/null 2>&1", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        var budget = new ScanBudget(64 << 20);
        int linked = 0;
        using (IFileSystem system = Format.Open(source, new ReadContext(budget, new GapList())))
        {
            Assert.Equal("7a1b0000-0000-4000-8000-00000000000f", system.Facts.Id);
            var random = new Random(5);
            foreach (GuestFile file in system.Walk().Where(f => f.Kind == GuestFileKind.Regular))
            {
                linked = Math.Max(linked, file.Links.Count);
                using IBlockSource content = system.OpenContent(file);
                byte[] whole = content.ReadAll();
                byte[] pieces = new byte[whole.Length];
                for (int i = 0; i < 20 && whole.Length > 0; i++)
                {
                    int at = random.Next(whole.Length), count = random.Next(Math.Min(50_000, whole.Length - at) + 1);
                    content.Read(at, pieces.AsSpan(at, count));
                    Assert.True(whole.AsSpan(at, count).SequenceEqual(pieces.AsSpan(at, count)));
                }
            }
        }

        Assert.Equal(0, budget.InUse);
        Assert.Equal(4, linked);
    }
}
