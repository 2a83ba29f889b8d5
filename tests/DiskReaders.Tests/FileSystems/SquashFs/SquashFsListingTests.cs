using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.SquashFs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.SquashFs;

/// <summary>What mksquashfs makes reads as the kernel and unsquashfs read it.</summary>
public sealed class SquashFsListingTests
{
    internal const string Tree = """
        mkdir -p tree/a/b/c tree/many tree/empty
        head -c 700000 /bin/bash > tree/code; head -c 300000 /dev/urandom > tree/noise; : > tree/nothing; printf tiny > tree/tiny
        cp tree/code tree/a/same; cp tree/tiny tree/a/b/tiny2; seq 1 200000 > tree/text; head -c 131072 tree/text > tree/oneblock; head -c 262144 /dev/zero > tree/zeros
        truncate -s 40000000 tree/sparse; printf mid | dd of=tree/sparse bs=1 seek=30000000 conv=notrunc status=none; printf end | dd of=tree/sparse bs=1 seek=39999990 conv=notrunc status=none
        for i in $(seq 1 700); do printf "content $i" > "tree/many/a name of some length $i"; done
        ln tree/tiny tree/a/hard; ln tree/tiny tree/a/b/hard2; ln tree/noise tree/a/b/c/noise; ln -s short tree/link; ln -s "$(printf 'y%.0s' $(seq 1 200))" tree/linklong; ln tree/a/b/hard2 tree/zz
        mkfifo tree/fifo; mknod tree/null c 1 3; mknod tree/disk b 8 0; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("tree/socket")' || true
        printf x > "tree/$(printf 'n\303\244me\377\\\n')"; printf y > "tree/$(printf 'z%.0s' $(seq 1 255))"
        """;

    private static readonly SquashFsFormat Format = new();

    [Theory]
    [InlineData("-comp gzip")]
    [InlineData("-comp gzip -Xcompression-level 1 -b 4096 -no-exports")]
    [InlineData("-comp lzo -b 1M")]
    [InlineData("-comp lzo -Xalgorithm lzo1x_1")]
    [InlineData("-comp lz4")]
    [InlineData("-comp lz4 -Xhc -b 64K")]
    [InlineData("-comp xz -b 256K")]
    [InlineData("-comp xz -Xbcj x86,arm,armthumb,powerpc,sparc,ia64 -Xdict-size 100%")]
    [InlineData("-comp zstd -b 1M -Xcompression-level 19")]
    [InlineData("-comp zstd")]
    [InlineData("-no-fragments -no-duplicates")]
    [InlineData("-always-use-fragments -noI -noD -noF -noId")]
    [InlineData("-noF -noI -b 8192")]
    [InlineData("-noD -tailends -no-sparse")]
    [InlineData("-no-hardlinks -all-root")]
    public void A_tree_equals_the_kernels_mount(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmksquashfs tree image -no-progress -quiet {options} > /dev/null", scratch.Folder);
        List<string> ours = PackedListing.OursWithoutGaps(Format, scratch["image"]);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ours);
        Assert.True(ours.Count > 700);
    }

    // The kernel has no decoder for it.
    [Fact]
    public void Lzma_equals_unsquashfs()
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmksquashfs tree image -no-progress -quiet -comp lzma > /dev/null; unsquashfs -quiet -no-progress -d out image > /dev/null", scratch.Folder);
        ExtListing.AssertEqual(ExtListing.OfFolder(scratch["out"]), PackedListing.OursWithoutGaps(Format, scratch["image"]));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Ten_thousand_files_in_one_folder_with_an_index()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir -p tree/big tree/deep; cd tree/big; seq -f 'file-with-a-longer-name-%06g' 1 10000 | xargs -n 500 touch; for i in $(seq 1 500); do echo $i > has$i; done
            cd ../deep; for i in $(seq 1 300); do mkdir d; cd d; echo $i > f; done; cd ../../..
            cd "$OLDPWD" 2>/dev/null || true
            """, scratch.Folder);
        Tool.Shell("mksquashfs tree image -no-progress -quiet > /dev/null", scratch.Folder);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), PackedListing.OursWithoutGaps(Format, scratch["image"]));
    }

    [Fact]
    public void Any_slicing_of_reads_equals_one_read_and_links_are_one_file()
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmksquashfs tree image -no-progress -quiet -b 16K > /dev/null", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using IFileSystem system = Format.Open(source, context);
        Assert.Equal(["packed with gzip"], system.Facts.Notes);
        var random = new Random(5);
        int linked = 0;
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

        Assert.Equal(4, linked);
    }
}
