using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>What a live file system makes and mke2fs does not: fragments, holes, reserved extents, hash trees, orphans, copies of the superblock.</summary>
public sealed class ExtFeatureTests
{
    [Theory]
    [InlineData("-t ext4 -b 1024")]
    [InlineData("-t ext4 -b 4096 -O inline_data")]
    [InlineData("-t ext3 -b 1024")]
    [InlineData("-t ext4 -b 1024 -O bigalloc -C 8192")]
    public void Fragments_holes_and_reserved_extents_equal_the_kernels(string make)
    {
        using var scratch = new Scratch();
        Tool.Shell($$"""
            mke2fs -q -F {{make}} image 96M; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            python3 - <<'END'
            import os
            a = os.open('mnt/fragments', os.O_RDWR | os.O_CREAT); b = os.open('mnt/other', os.O_RDWR | os.O_CREAT)
            for i in range(1500):
                os.pwrite(a, os.urandom(1024), i * 9000); os.pwrite(b, os.urandom(700), i * 5000)
                if i % 50 == 0: os.fsync(a)
            c = os.open('mnt/triple', os.O_RDWR | os.O_CREAT)
            for at in (0, 13 << 10, 300 << 10, 70 << 20): os.pwrite(c, b'here', at)
            END
            truncate -s 40M mnt/allhole
            if fallocate -l 3M mnt/reserved 2>/dev/null; then printf x | dd of=mnt/reserved bs=1 seek=1000000 conv=notrunc status=none; fallocate -p -o 8192 -l 16384 mnt/fragments; fi
            fallocate -n -l 2M -o 0 mnt/beyond 2>/dev/null || true; printf short >> mnt/beyond
            """, scratch.Folder);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ExtListing.OursWithoutGaps(scratch["image"], out _));
    }

    [Theory]
    [InlineData("-t ext4 -b 1024", 49_000)]
    [InlineData("-t ext4 -b 4096 -O large_dir", 21_000)]
    [InlineData("-t ext3 -b 1024", 21_000)]
    [InlineData("-t ext2 -b 1024 -O ^dir_index", 7_000)] // Without an index each name costs the kernel a look at all others.
    [Trait("Category", "Slow")]
    public void Many_files_in_a_folder(string make, int count)
    {
        using var scratch = new Scratch();
        Tool.Shell($$"""
            mke2fs -q -F {{make}} -N 60000 image 128M; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            python3 - <<'END'
            import os
            os.mkdir('mnt/d')
            for i in range({{count}}): os.close(os.open('mnt/d/%d a file of this folder' % i, os.O_CREAT | os.O_WRONLY))
            for i in range(0, {{count}}, 7): os.unlink('mnt/d/%d a file of this folder' % i)
            END
            """, scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out _);
        Assert.Equal(count - (count / 7) + 1, ours.Count);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ours);
    }

    [Fact]
    public void Names_of_all_byte_values_are_kept()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mke2fs -q -F -t ext4 -b 1024 image 16M; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            python3 - <<'END'
            import os
            for b in range(1, 256):
                if b != 47: open(b'mnt/n' + bytes([b]) + b'x', 'wb').write(bytes([b]))
            open(b'mnt/' + b'z' * 255, 'wb').write(b'long')
            os.mkdir(b'mnt/\xff\xfe'); open(b'mnt/\xff\xfe/\xc3', 'wb').write(b'y')
            END
            """, scratch.Folder);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ExtListing.OursWithoutGaps(scratch["image"], out _));
    }

    [Fact]
    public void What_lies_in_lost_and_found_is_listed_but_not_the_folder_itself()
    {
        using var scratch = new Scratch();
        Tool.Shell("mke2fs -q -F -t ext4 image 8M; printf found > f; debugfs -w -R 'write f lost+found/#12' image 2>/dev/null", scratch.Folder);
        List<string> ours = ExtListing.OursWithoutGaps(scratch["image"], out _);
        Assert.StartsWith("F 5 ", Assert.Single(ours), StringComparison.Ordinal);
        Assert.EndsWith(" lost+found/#12", ours[0], StringComparison.Ordinal);
    }

    [Fact]
    public void Files_and_folders_without_a_name_stand_below_OrphanFiles()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir -p tree/d/e; printf one > tree/one; printf two > tree/d/two; printf three > tree/d/e/three
            mke2fs -q -F -t ext4 -d tree image 8M
            debugfs -w -R 'unlink one' image 2>/dev/null; debugfs -w -R 'unlink d' image 2>/dev/null
            """, scratch.Folder);
        var gaps = new GapList();
        string[] paths = [.. ExtListing.Ours(scratch["image"], gaps, out _).Select(l => l.Split(' ')[^1])];
        Assert.Equal(2, paths.Count(p => p.StartsWith("$OrphanFiles/#", StringComparison.Ordinal) && p.Count(c => c == '/') == 1));
        Assert.Contains(paths, p => p.EndsWith("/e/three", StringComparison.Ordinal) && p.StartsWith("$OrphanFiles/#", StringComparison.Ordinal));
        Assert.Contains(paths, p => p.EndsWith("/two", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("-t ext4 -b 1024 -O ^resize_inode")]
    [InlineData("-t ext4 -b 1024 -O sparse_super2,^sparse_super,^resize_inode")]
    [InlineData("-t ext2 -b 1024 -O ^sparse_super,^resize_inode")]
    [InlineData("-t ext4 -b 1024 -O meta_bg,^resize_inode")]
    public void A_copy_of_the_superblock_and_of_the_descriptors_stands_in_for_the_first(string make)
    {
        using var scratch = new Scratch();
        Tool.Shell(ExtContentTests.Sample, scratch.Folder);
        // The inode tables of a flexible group lie elsewhere than the descriptors, so zeroing the first blocks takes nothing else.
        Tool.Shell($"mke2fs -q -F {make} -d tree image 64M", scratch.Folder);
        List<string> whole = ExtListing.OursWithoutGaps(scratch["image"], out _);
        Tool.Shell("dd if=/dev/zero of=image bs=1024 count=3 conv=notrunc status=none", scratch.Folder);
        var gaps = new GapList();
        List<string> ours = ExtListing.Ours(scratch["image"], gaps, out _);
        ExtListing.AssertEqual(whole, ours);
        Assert.Contains(gaps.ToList(), g => g.Structure == "ext4_super_block" && g.Detail.Contains("copy", StringComparison.Ordinal));
        Assert.Contains(gaps.ToList(), g => g.Structure == "ext4_group_desc" && g.Detail.Contains("copy", StringComparison.Ordinal));
    }

    [Fact]
    public void A_boot_block_is_scanned_but_not_listed()
    {
        using var scratch = new Scratch();
        Tool.Shell("mke2fs -q -F -t ext4 image 8M; printf bootcode | dd of=image conv=notrunc status=none", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        using IFileSystem system = new ExtFormat().Open(source, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        GuestFile boot = Assert.Single(system.Walk(), f => f.Kind == GuestFileKind.System);
        using IBlockSource content = system.OpenContent(boot);
        Assert.Equal("$Boot", Encoding.ASCII.GetString(boot.Links[0].Path()));
        Assert.StartsWith("bootcode", Encoding.ASCII.GetString(content.ReadAll()), StringComparison.Ordinal);
    }

    [Fact]
    public void Values_of_attributes_in_inodes_of_their_own_are_scanned()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mke2fs -q -F -t ext4 -O ea_inode image 16M; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            printf x > mnt/f; setfattr -n user.large -v "$(printf 'v%.0s' $(seq 1 20000))" mnt/f
            """, scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        var gaps = new GapList();
        using IFileSystem system = new ExtFormat().Open(source, new ReadContext(new ScanBudget(64 << 20), gaps));
        GuestFile value = Assert.Single(system.Walk(), f => f.Kind == GuestFileKind.System);
        using IBlockSource content = system.OpenContent(value);
        Assert.Equal(new string('v', 20_000), Encoding.ASCII.GetString(content.ReadAll()));
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ExtListing.OursWithoutGaps(scratch["image"], out _));
    }

    [Fact]
    public void Encrypted_content_says_so_and_names_are_shown_as_stored()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir -p tree/secret; printf plain > tree/plain; printf cipher > tree/secret/abcdefghijklmnop
            mke2fs -q -F -t ext4 -O encrypt -d tree image 16M
            debugfs -w -R 'sif secret flags 0x80800' image; debugfs -w -R 'sif secret/abcdefghijklmnop flags 0x80800' image
            """, scratch.Folder);
        var gaps = new GapList();
        List<string> ours = ExtListing.Ours(scratch["image"], gaps, out _);
        Assert.Contains("F 6 Encrypted secret/abcdefghijklmnop", ours);
        Assert.Contains(ours, l => l.EndsWith(" plain", StringComparison.Ordinal) && l.StartsWith("F 5 ", StringComparison.Ordinal));
    }

    [Fact]
    public void Owner_first_byte_and_layout_are_told()
    {
        using var scratch = new Scratch();
        Tool.Shell("mkdir tree; head -c 9000 /dev/urandom > tree/f; chown 70000:5 tree/f; mke2fs -q -F -t ext4 -b 1024 -U 01234567-89ab-cdef-0123-456789abcdef -d tree image 8M", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        using IFileSystem system = new ExtFormat().Open(source, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        GuestFile file = Assert.Single(system.Walk(), f => f.Kind == GuestFileKind.Regular);
        Assert.Equal("70000", file.Owner);
        Assert.Equal("01234567-89ab-cdef-0123-456789abcdef", system.Facts.Id);
        Assert.Equal(8 << 20, system.Facts.SizeBytes);
        byte[] atFirst = new byte[9000];
        source.Read(file.FirstByte, atFirst);
        Assert.Equal(File.ReadAllBytes(scratch["tree/f"]), atFirst);
    }

    [Fact]
    public void Any_slicing_of_reads_equals_one_read()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir tree; python3 -c "
            import os
            a = os.open('tree/f', os.O_RDWR | os.O_CREAT)
            for i in range(300): os.pwrite(a, os.urandom(1500), i * 5000)
            "; head -c 150 /dev/urandom > tree/inline
            mke2fs -q -F -t ext4 -b 1024 -O inline_data -d tree image 8M
            mke2fs -q -F -t ext2 -b 1024 -d tree image2 8M
            """, scratch.Folder);
        foreach (string image in (string[])["image", "image2"])
        {
            using var source = new FileSource(scratch[image]);
            var budget = new ScanBudget(64 << 20);
            using (IFileSystem system = new ExtFormat().Open(source, new ReadContext(budget, new GapList())))
            {
                foreach (GuestFile file in system.Walk().Where(f => f.Kind == GuestFileKind.Regular))
                {
                    using IBlockSource content = system.OpenContent(file);
                    byte[] whole = content.ReadAll();
                    var random = new Random(5);
                    for (int i = 0; i < 300; i++)
                    {
                        int at = random.Next(whole.Length);
                        byte[] part = new byte[random.Next(Math.Min(20_000, whole.Length - at) + 1)];
                        content.Read(at, part);
                        Assert.Equal(whole[at..(at + part.Length)], part);
                    }
                }
            }

            Assert.Equal(0, budget.InUse);
        }
    }

    [Fact]
    public void A_walk_that_is_abandoned_returns_its_memory()
    {
        using var scratch = new Scratch();
        Tool.Shell(ExtContentTests.Sample + "\nmke2fs -q -F -t ext4 -b 1024 -d tree image 64M", scratch.Folder);
        using var source = new FileSource(scratch["image"]);
        var budget = new ScanBudget(64 << 20);
        using (IFileSystem system = new ExtFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            _ = system.Walk().Take(3).ToList();
        }

        Assert.Equal(0, budget.InUse);
    }
}
