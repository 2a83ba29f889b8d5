using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>Listings of images that mke2fs makes equal the kernel's.</summary>
public sealed class ExtContentTests
{
    // Regular, sparse, empty, nested, linked, odd names: what every layout is tried with.
    internal const string Sample = """
        mkdir -p tree/a/b/c tree/empty tree/many
        head -c 5000000 /dev/urandom > tree/large
        printf tiny > tree/tiny; : > tree/zero; head -c 100 /dev/urandom > tree/hundred; head -c 150 /dev/urandom > tree/a/inline
        head -c 61 /dev/urandom > tree/sixtyone; head -c 60 /dev/urandom > tree/sixty
        truncate -s 70000000 tree/sparse; printf end | dd of=tree/sparse bs=1 seek=69999990 conv=notrunc status=none; printf mid | dd of=tree/sparse bs=1 seek=30000000 conv=notrunc status=none
        for i in $(seq 1 400); do printf "file $i" > "tree/many/a rather long name to fill the folder blocks $i"; done
        ln tree/tiny tree/a/b/hard; ln tree/tiny tree/hard2
        ln -s short tree/link; ln -s "$(printf 'x%.0s' $(seq 1 59))" tree/link59; ln -s "$(printf 'x%.0s' $(seq 1 60))" tree/link60; ln -s "$(printf 'y%.0s' $(seq 1 900))" tree/linklong
        mkfifo tree/fifo; mknod tree/null c 1 3; mknod tree/disk b 8 0
        printf bytes > "$(printf 'tree/bad\377\376\001\n\t name')"; printf dots > tree/...; printf utf > tree/ünïcode
        mkdir -p tree/deep/$(printf 'd/%.0s' $(seq 1 60)); printf deep > tree/deep/$(printf 'd/%.0s' $(seq 1 60))f
        """;

    [Theory]
    [InlineData("ext2", "-t ext2 -b 1024")]
    [InlineData("ext2", "-t ext2 -b 2048")]
    [InlineData("ext2", "-t ext2 -b 4096")]
    [InlineData("ext2", "-t ext2 -b 1024 -I 128")]
    [InlineData("ext2", "-t ext2 -b 1024 -O ^filetype,^sparse_super,^resize_inode")]
    [InlineData("ext2", "-t ext2 -r 0 -b 1024 -O none")]
    [InlineData("ext3", "-t ext3 -b 1024")]
    [InlineData("ext3", "-t ext3 -b 4096")]
    [InlineData("ext4", "-t ext4 -b 1024")]
    [InlineData("ext4", "-t ext4 -b 2048")]
    [InlineData("ext4", "-t ext4 -b 4096")]
    [InlineData("ext4", "-t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg")]
    [InlineData("ext4", "-t ext4 -b 1024 -O ^64bit,metadata_csum")]
    [InlineData("ext4", "-t ext4 -b 4096 -O ^64bit,^metadata_csum,^uninit_bg")]
    [InlineData("ext4", "-t ext4 -b 1024 -O meta_bg,^resize_inode")]
    [InlineData("ext4", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^64bit -g 1024")]
    [InlineData("ext4", "-t ext4 -b 1024 -O ^flex_bg -g 2048")]
    [InlineData("ext4", "-t ext4 -b 4096 -O flex_bg -G 4 -g 1024")]
    [InlineData("ext4", "-t ext4 -b 1024 -O bigalloc -C 16384")]
    [InlineData("ext4", "-t ext4 -b 4096 -O bigalloc -C 65536")]
    [InlineData("ext4", "-t ext4 -b 1024 -O inline_data -I 256")]
    [InlineData("ext4", "-t ext4 -b 4096 -O inline_data -I 1024")]
    [InlineData("ext4", "-t ext4 -b 4096 -O inline_data,^metadata_csum -I 256")]
    [InlineData("ext4", "-t ext4 -b 4096 -I 128 -O ^inline_data,^project,^quota,^ea_inode")]
    [InlineData("ext4", "-t ext4 -b 4096 -I 4096 -N 2000")]
    [InlineData("ext4", "-t ext4 -b 1024 -O large_dir,dir_index")]
    [InlineData("ext4", "-t ext4 -b 1024 -O sparse_super2,^sparse_super,^resize_inode")]
    [InlineData("ext4", "-t ext4 -b 4096 -O metadata_csum_seed,quota,project,mmp,ea_inode,encrypt,verity,orphan_file")]
    [InlineData("ext4", "-t ext4 -b 1024 -O ^extents,^64bit")]
    public void A_listing_equals_the_kernels(string kind, string options)
    {
        using var scratch = new Scratch();
        Tool.Shell(Sample, scratch.Folder);
        Tool.Shell($"mke2fs -q -F -L 'a label' {options} -d tree image 64M", scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out FileSystemFacts facts);
        Assert.Equal(kind, facts.Kind);
        Assert.Equal("a label", facts.Label);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ours);
    }

    [Theory]
    [InlineData("-t ext4 -b 4096 -O casefold -E encoding=utf8")]
    [InlineData("-t ext4 -b 8192")]
    [InlineData("-t ext4 -b 16384 -O ^64bit")]
    [InlineData("-t ext4 -b 65536")]
    [InlineData("-t ext2 -b 65536")]
    public void What_the_kernel_here_refuses_equals_the_folder_it_was_made_of(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell(Sample, scratch.Folder);
        Tool.Shell($"mke2fs -q -F {options} -d tree image 96M 2>/dev/null", scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out _);
        ExtListing.AssertEqual(ExtListing.OfFolder(scratch["tree"]), ours);
    }
}
