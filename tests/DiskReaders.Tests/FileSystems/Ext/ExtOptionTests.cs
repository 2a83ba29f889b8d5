using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>Every feature that <c>mke2fs -O</c> offers, alone and together, on a populated volume.</summary>
public sealed class ExtOptionTests
{
    /// <summary>The features of mke2fs 1.47, <c>ext4(5)</c>, each with what it needs beside it.</summary>
    public static TheoryData<string> Options =>
    [
        "-t ext4 -O 64bit", "-t ext4 -O ^64bit", "-t ext4 -O bigalloc -C 16384", "-t ext4 -O casefold", "-t ext4 -O casefold -E encoding=utf8,encoding_flags=strict",
        "-t ext4 -O ^dir_index", "-t ext4 -O ^dir_nlink", "-t ext4 -O ea_inode", "-t ext4 -O encrypt", "-t ext4 -O ext_attr", "-t ext2 -O ^ext_attr",
        "-t ext4 -O ^extent,^64bit", "-t ext4 -O ^extra_isize", "-t ext4 -O fast_commit", "-t ext2 -O ^filetype", "-t ext4 -O ^flex_bg",
        "-t ext3 -O flex_bg,uninit_bg", "-t ext3 -O has_journal", "-t ext4 -O ^has_journal", "-t ext4 -O ^huge_file", "-t ext4 -O inline_data", "-t ext4 -O large_dir",
        "-t ext2 -O ^large_file", "-t ext4 -O metadata_csum", "-t ext4 -O ^metadata_csum,uninit_bg", "-t ext4 -O ^metadata_csum,^uninit_bg", "-t ext4 -O metadata_csum_seed",
        "-t ext4 -O meta_bg,^resize_inode", "-t ext4 -O mmp", "-t ext4 -O orphan_file", "-t ext4 -O project,quota -E quotatype=usrquota:grpquota:prjquota",
        "-t ext4 -O quota", "-t ext4 -O ^resize_inode", "-t ext4 -O ^sparse_super,^resize_inode", "-t ext4 -O sparse_super2", "-t ext4 -O stable_inodes", "-t ext4 -O uninit_bg,^metadata_csum",
        "-t ext4 -O verity", "-t ext4 -b 1024 -g 1024 -O ^resize_inode", "-t ext4 -I 128 -O ^extra_isize,^metadata_csum", "-t ext4 -I 1024 -b 1024", "-t ext2 -r 0",
        "-t ext4 -b 1024 -O 64bit,bigalloc,casefold,ea_inode,encrypt,inline_data,large_dir,metadata_csum_seed,mmp,orphan_file,project,quota,sparse_super2,^resize_inode,stable_inodes,verity,fast_commit -C 4096",
    ];

    [Theory]
    [MemberData(nameof(Options))]
    public void A_populated_volume_of_any_feature_equals_what_it_was_made_from(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"""
            mkdir -p tree/a/b; seq 1 20000 > tree/a/numbers; printf tiny > tree/tiny; : > tree/empty; ln tree/tiny tree/a/hard
            ln -s ../tiny tree/a/link; ln -s {new string('x', 200)} tree/longlink; mkfifo tree/fifo; head -c 300000 /dev/urandom > tree/a/b/data; truncate -s 9M tree/hole
            printf end >> tree/hole; for i in $(seq 1 200); do printf $i > "tree/a/b/a name of file number $i"; done
            mke2fs -q -F {options} -d tree image 64M
            """, scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out _);
        ExtListing.AssertEqual(ExtListing.OfFolder(scratch["tree"]), ours);
    }

    [Fact]
    public void Names_of_a_case_insensitive_folder_are_shown_as_stored()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir -p tree/folded; printf 1 > tree/folded/MiXed; printf 2 > "tree/folded/Stra$(printf '\xc3\x9f')e"
            mke2fs -q -F -t ext4 -O casefold -d tree image 16M
            debugfs -w -R 'sif folded flags 0x40080000' image 2>/dev/null
            """, scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out _);
        Assert.Contains(ours, l => l.EndsWith(" folded/MiXed", StringComparison.Ordinal));
        Assert.Equal(3, ours.Count);
    }

    [Fact]
    public void The_hash_tree_behind_a_verified_files_end_is_no_content()
    {
        // fs-verity keeps its Merkle tree and descriptor behind the end of the file, from the next 64 KiB on.
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir tree; head -c 5000 /dev/urandom > tree/whole; cp tree/whole tree/verified; head -c 80000 /dev/urandom | dd of=tree/verified bs=65536 seek=1 conv=notrunc status=none
            mke2fs -q -F -t ext4 -O verity -d tree image 16M
            debugfs -w -R 'sif verified size 5000' image 2>/dev/null; debugfs -w -R 'sif verified flags 0x180000' image 2>/dev/null
            """, scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out _);
        string hash = Content.Sha256OfFile(scratch["tree/whole"]);
        Assert.Contains($"F 5000 {hash} whole", ours);
        Assert.Contains($"F 5000 {hash} verified", ours);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-O orphan_file")]
    public void A_file_that_was_deleted_while_open_is_named_in_no_folder_and_makes_no_gap(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($$"""
            mke2fs -q -F -t ext4 -b 1024 {{options}} image 16M; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            printf kept > mnt/kept; exec 3> mnt/open; head -c 30000 /dev/urandom >&3; rm mnt/open; sync -f mnt; cp image copy; exec 3>&-
            """, scratch.Folder);
        var gaps = new GapList();
        List<string> ours = ExtListing.Ours(scratch["copy"], gaps, out FileSystemFacts facts);
        Assert.Contains(ours, l => l.EndsWith(" kept", StringComparison.Ordinal));
        Assert.DoesNotContain(gaps.ToList(), g => g.Fault == Fault.Corrupt);
        Assert.DoesNotContain(ours, l => l.EndsWith(" open", StringComparison.Ordinal));
        Assert.NotEmpty(facts.Kind);
    }
}
