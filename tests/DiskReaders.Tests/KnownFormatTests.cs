using System.Buffers.Binary;
using System.IO.Compression;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests;

public sealed class KnownFormatTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(511)]
    [InlineData(70_000)]
    public void Zeros_of_any_length_are_nothing_known(int bytes)
    {
        using var source = new MemorySource(new byte[bytes]);
        Assert.Null(KnownContainers.Recognise(source));
        Assert.Null(KnownVolumes.Recognise(source));
        Assert.Null(KnownFileSystems.Recognise(source));
    }

    [Fact]
    public void Noise_is_nothing_known_and_nothing_throws()
    {
        byte[] noise = new byte[300_000];
        for (int seed = 0; seed < 50; seed++)
        {
            new Random(seed).NextBytes(noise);
            using var source = new MemorySource(noise.AsMemory(0, noise.Length - (seed * 5003)));
            Assert.Null(KnownContainers.Recognise(source));
            Assert.Null(KnownVolumes.Recognise(source));
            Assert.Null(KnownFileSystems.Recognise(source));
        }
    }

    [Theory]
    [InlineData("qcow", "version 1", "qemu-img create -q -f qcow x 8M")]
    [InlineData("qed", "", "qemu-img create -q -f qed x 8M")]
    [InlineData("gzip", "", "head -c 999 /dev/zero | gzip > x")]
    [InlineData("xz", "", "head -c 999 /dev/zero | xz > x")]
    [InlineData("bzip2", "", "head -c 999 /dev/zero | bzip2 > x")]
    [InlineData("bzip2", "", "bzip2 < /dev/null > x")]
    [InlineData("7z", "", "echo 1 > a; 7z a -bd -bso0 x.7z a; mv x.7z x")]
    [InlineData("zip", "", "echo 1 > a; 7z a -bd -bso0 x.zip a; mv x.zip x")]
    [InlineData("tar", "", "echo 1 > a; tar cf x a")]
    [InlineData("ova", "", "echo 1 > a.OVF; tar cf x --format=ustar a.OVF")]
    public void Containers_are_known_by_name(string name, string detail, string make)
    {
        using var scratch = new Scratch();
        Tool.Shell(make, scratch.Folder);
        using var source = new FileSource(scratch["x"]);
        Recognised? found = KnownContainers.Recognise(source);
        Assert.Equal((name, Fault.Unsupported), (found?.Name, found?.Fault));
        Assert.Contains(detail, found!.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("swap", "mkswap", "mkswap -q x")]
    [InlineData("swap", "mkswap", "mkswap -q -p 65536 x")]
    [InlineData("minix", "mkfs.minix", "mkfs.minix -1 x")]
    [InlineData("minix", "mkfs.minix", "mkfs.minix -2 x")]
    [InlineData("minix", "mkfs.minix", "mkfs.minix -3 x")]
    [InlineData("cramfs", "mkfs.cramfs", "mkdir d; echo 1 > d/a; mkfs.cramfs d x")]
    public void File_systems_are_known_by_name_as_blkid_names_them(string name, string program, string make)
    {
        using var scratch = new Scratch();
        Tool.Find(program);
        Tool.Shell("truncate -s 64M x; { " + make + "; } > /dev/null 2>&1", scratch.Folder);
        using var source = new FileSource(scratch["x"]);
        Assert.Null(KnownVolumes.Recognise(source));
        Assert.Equal((name, Fault.Unsupported), (KnownFileSystems.Recognise(source)?.Name, KnownFileSystems.Recognise(source)?.Fault));
        Assert.Equal(name, Tool.Run("blkid", "-p", "-o", "value", "-s", "TYPE", scratch["x"]).Trim());
    }

    [Theory]
    [InlineData("bsd-label", "bsd", "parted -s x mklabel bsd mkpart 1MiB 32MiB")]
    [InlineData("sun-label", "sun", "parted -s x mklabel sun mkpart 8MiB 32MiB")]
    [InlineData("sun-label", "sun", @"printf 's\nw\n' | fdisk x")]
    [InlineData("sun-label", "sun", "echo label: sun | sfdisk x")]
    [InlineData("apple-partition-map", "mac", "parted -s x mklabel mac mkpart one hfs 1MiB 32MiB")]
    public void Labels_of_other_systems_are_known_by_name_as_parted_names_them(string name, string parted, string make)
    {
        using var scratch = new Scratch();
        Tool.Find("parted");
        Tool.Find("fdisk");
        Tool.Shell("truncate -s 64M x; { " + make + "; } > /dev/null 2>&1", scratch.Folder);
        Assert.Contains($":512:512:{parted}:", Tool.Run("parted", "-s", "-m", scratch["x"], "print"), StringComparison.Ordinal);
        Assert.Equal((name, Fault.Unsupported), Volume(scratch["x"], 0));
    }

    [Fact]
    public void The_label_inside_a_BSD_partition_is_known()
    {
        using var scratch = new Scratch();
        Tool.Find("fdisk");
        Tool.Shell(@"truncate -s 64M x; echo '2048,65536,a5' | sfdisk -q x; printf 'b\ny\nw\n' | fdisk x > /dev/null 2>&1", scratch.Folder);
        Assert.Equal(("bsd-label", Fault.Unsupported), Volume(scratch["x"], 1 << 20));
    }

    // illumos sys/vtoc.h, struct vtoc of x86: in sector 1 of the partition; v_bootinfo, v_sanity at 12, v_version, v_volume, v_sectorsz
    // at 28, v_nparts at 30, v_reserved, then slices of tag, flag, start and size from 72. No tool of Debian writes it; libblkid reads it.
    [Fact]
    public void The_label_inside_a_Solaris_partition_is_known()
    {
        using var scratch = new Scratch();
        Tool.Find("sfdisk");
        Tool.Shell("truncate -s 64M x; echo '2048,65536,82' | sfdisk -q x", scratch.Folder);
        byte[] label = new byte[512];
        BinaryPrimitives.WriteUInt32LittleEndian(label.AsSpan(12), 0x600D_DEEE);
        BinaryPrimitives.WriteUInt32LittleEndian(label.AsSpan(16), 1);
        BinaryPrimitives.WriteUInt16LittleEndian(label.AsSpan(28), 512);
        BinaryPrimitives.WriteUInt16LittleEndian(label.AsSpan(30), 16);
        BinaryPrimitives.WriteUInt16LittleEndian(label.AsSpan(72), 2);
        BinaryPrimitives.WriteUInt32LittleEndian(label.AsSpan(76), 4096);
        BinaryPrimitives.WriteUInt32LittleEndian(label.AsSpan(80), 8192);
        using (FileStream file = File.OpenWrite(scratch["x"]))
        {
            file.Position = (1 << 20) + 512;
            file.Write(label);
        }

        Assert.Contains("solaris", Tool.Run("partx", "--show", "--noheadings", "-o", "SCHEME", scratch["x"]), StringComparison.Ordinal);
        Assert.Equal(("solaris-vtoc", Fault.Unsupported), Volume(scratch["x"], 1 << 20));
    }

    [Fact]
    public void A_ZFS_pool_is_known_as_blkid_knows_it()
    {
        using var scratch = new Scratch();
        byte[] labels = Tool.RunRaw("xz", Path.Combine(Root(), "tests/DiskReaders.Tests/Volumes/Zfs/Images"), "-dc", "pool.xz");
        File.WriteAllBytes(scratch["x"], labels);
        Tool.Run("truncate", "-s", "64M", scratch["x"]);
        Assert.Equal("zfs_member", Tool.Run("blkid", "-p", "-o", "value", "-s", "TYPE", scratch["x"]).Trim());
        Assert.Equal(("zfs", Fault.Unsupported), Volume(scratch["x"], 0));

        // A machine of the other byte order writes the magic number the other way round.
        for (int at = 128 << 10; at < 256 << 10; at += 1024)
        {
            labels.AsSpan(at, 8).Reverse();
        }

        using (var swapped = new MemorySource(labels))
        {
            Assert.Equal("zfs", KnownVolumes.Recognise(swapped)?.Name);
        }

        // One that is left of the ring is a remnant.
        labels.AsSpan(0x2_1400, 0x4_0000 - 0x2_1400).Clear();
        using var remnant = new MemorySource(labels);
        Assert.Null(KnownVolumes.Recognise(remnant));
    }

    [Theory]
    [InlineData("storage-spaces", 4096, "5350414345444220")]
    [InlineData("sun-label", 188, "600DDEEE")]
    public void Volumes_that_no_tool_here_makes_are_known_by_their_signature(string name, int at, string bytes)
    {
        byte[] volume = new byte[1 << 20];
        Convert.FromHexString(bytes).CopyTo(volume, at);
        using var source = new MemorySource(volume);
        Assert.Equal(name, KnownVolumes.Recognise(source)?.Name);
    }

    [Theory]
    [InlineData("hfsplus", 1024, "482B0004")]
    [InlineData("hfsx", 1024, "48580005")]
    [InlineData("hfs", 1024, "4244")]
    [InlineData("apfs", 32, "4E585342")]
    [InlineData("refs", 0, "EB5890526546530000000000000000004653525300020001000000000000000000000000000000000307")]
    [InlineData("ufs", 65536 + 1372, "19015419")]
    [InlineData("ufs", 8192 + 1372, "00011954")]
    [InlineData("gfs2", 65536, "0116197000000001000000000000000000000064000000000000070A")]
    [InlineData("ocfs2", 8192, "4F4346535632")]
    [InlineData("hpfs", 8192, "49E895F9C5E953FA")]
    [InlineData("bfs", 544, "31534642")]
    [InlineData("jfs", 0x8000, "4A465331")]
    [InlineData("f2fs", 1024, "1020F5F2")]
    [InlineData("nilfs2", 1024, "0200000000003434")]
    [InlineData("reiserfs", 0x10034, "5265497345723246730000")]
    [InlineData("reiser4", 0x10000, "52654973457234")]
    [InlineData("squashfs", 0, "73717368")]
    [InlineData("squashfs", 0, "6873717300000000000000000000000000000000000000000000000003000100")]
    [InlineData("romfs", 0, "2D726F6D3166732D")]
    [InlineData("nss", 4096, "53504235")]
    [InlineData("bcachefs", 4120, "C68573F666CE90A9D96A60CF803DF7EF")]
    public void File_systems_that_no_tool_here_makes_are_known_by_their_signature(string name, int at, string bytes)
    {
        byte[] volume = new byte[1 << 20];
        Convert.FromHexString(bytes).CopyTo(volume, at);
        using var source = new MemorySource(volume);
        Assert.Equal(name, KnownFileSystems.Recognise(source)?.Name);
    }

    [Fact]
    public void What_the_corpus_holds_of_unread_file_systems_is_known_by_name()
    {
        string corpus = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") is { Length: > 0 } set ? set : Path.Combine(Root(), "../shared/corpus");
        string sweep = Path.Combine(corpus, "images/mkfs-sweep");
        Assert.SkipUnless(Directory.Exists(sweep), $"no corpus at {corpus}; set VMSWEEP_CORPUS");
        string[] known = ["hfs", "hfsplus"];
        foreach (string image in Directory.EnumerateFiles(sweep, "*_*0.img.gz").Order(StringComparer.Ordinal))
        {
            string kind = Path.GetFileName(image).Split('_')[0];
            using var bytes = new MemoryStream();
            using (var gzip = new GZipStream(File.OpenRead(image), CompressionMode.Decompress))
            {
                gzip.CopyTo(bytes);
            }

            using var source = new MemorySource(bytes.GetBuffer().AsMemory(0, (int)bytes.Length));
            Assert.Null(KnownVolumes.Recognise(source));
            string? name = KnownFileSystems.Recognise(source)?.Name;
            Assert.True(known.Contains(kind) ? name is not null && (name.StartsWith(kind, StringComparison.Ordinal) || (kind, name) is ("hfsplus", "hfsx")) : name is null || (kind, name) is ("iso9660", "hfs"), $"{image}: {name}");
        }
    }

    private static (string? Name, Fault? Fault) Volume(string path, long offset)
    {
        using var file = new FileSource(path);
        using var volume = new SliceSource(file, offset, file.Length - offset, "partition");
        Recognised? found = KnownVolumes.Recognise(volume);
        return (found?.Name, found?.Fault);
    }

    private static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "appliance.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? ".";
    }
}
