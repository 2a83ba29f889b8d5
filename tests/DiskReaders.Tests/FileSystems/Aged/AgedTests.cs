using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.FileSystems.ExFat;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Xfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Aged;

/// <summary>File systems after thousands of changes, full to 95 %, equal what their own driver reads.</summary>
[Trait("Category", "Slow")]
public sealed class AgedTests : IDisposable
{
    private const int Operations = 2500;
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("-t ext4 -b 4096", 1)]
    [InlineData("-t ext4 -b 1024 -O inline_data,bigalloc,^resize_inode -I 256", 2)]
    [InlineData("-t ext3 -b 1024", 3)]
    public void Ext(string make, int seed)
    {
        Tool.Shell($"""
            truncate -s 160M image; mke2fs -q -F -N 9000 {make} image; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            python3 {Aging.Write(_scratch)} mnt {seed} {Operations} 95 links
            """, _scratch.Folder);
        List<string> kernel = ExtListing.Kernel(_scratch["image"]);
        AssertAged(kernel.Count);
        ExtListing.AssertEqual(kernel, ExtListing.OursWithoutGaps(_scratch["image"], out _));
    }

    [Theory]
    [InlineData("-b size=4096", 4)]
    [InlineData("-b size=1024 -n size=4096 -m rmapbt=1 -i nrext64=1", 5)]
    public void Xfs(string make, int seed)
    {
        Tool.Shell($"""
            truncate -s 200M image; mkfs.xfs --unsupported -q -f {make} image; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            python3 {Aging.Write(_scratch)} mnt {seed} {Operations} 95 links
            """, _scratch.Folder);
        List<string> kernel = XfsListing.Kernel(_scratch["image"]);
        AssertAged(kernel.Count);
        XfsListing.AssertEqual(kernel, XfsListing.OursWithoutGaps(_scratch["image"], out _));
    }

    [Theory]
    [InlineData("-n 4096 -m single", "compress=zstd", 6)]
    [InlineData("--csum sha256", "compress-force=lzo", 7)]
    public void Btrfs(string make, string options, int seed)
    {
        string age = Aging.Write(_scratch);
        string[] image = BtrfsImages.Make(_scratch, 1, make, $"""
            mkdir work; python3 {age} work {seed} {Operations / 2} 0 links; btrfs -q subvolume snapshot . snap
            python3 {age} work {seed + 100} {Operations / 2} 95 links
            """, options, "400M");
        List<string> kernel = BtrfsListing.Kernel(image);
        AssertAged(kernel.Count);
        ExtListing.AssertEqual(kernel, BtrfsListing.OursWithoutGaps(image, out _));
    }

    [Theory]
    [InlineData("-c 4096", "streams_interface=windows", 8)]
    [InlineData("-c 512", "streams_interface=windows", 9)]
    public void Ntfs(string make, string mount, int seed)
    {
        string image = NtfsImage.Make(_scratch.Folder, "100M", make, $"python3 {Aging.Write(_scratch)} . {seed} {Operations / 2} 95", mount);
        SortedSet<string> mounted = NtfsImage.ListMounted(_scratch.Folder, image, streams: false);
        AssertAged(mounted.Count);
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(image);
        Assert.Empty(gaps);
        Assert.Equal("", string.Join('\n', mounted.Except(lines).Take(5).Select(l => "mounted: " + l).Concat(lines.Except(mounted).Take(5).Select(l => "read: " + l))));
    }

    [Fact]
    public void ExFat()
    {
        string image = ExFatImages.Make(_scratch, 60 << 10, $"python3 {Aging.Write(_scratch)} . 10 {Operations / 2} 95", "-c", "4K");
        VolumeListing ours = ExFatImages.List(File.ReadAllBytes(image));
        List<string> content = VolumeListing.OfFolder(_scratch["content"]);
        AssertAged(content.Count);
        Assert.Empty(ours.Gaps);
        Assert.Equal(content, ours.Files);
    }

    /// <summary>There is no driver here that mounts FAT: each change is made by mtools and in a folder beside it.</summary>
    [Theory]
    [InlineData("-F 32 -s 1", 40)]
    [InlineData("-F 16 -s 4", 24)]
    public void Fat(string make, int mebibytes)
    {
        Tool.Find("mcopy");
        File.WriteAllText(_scratch["age-mtools.py"], MtoolsScript);
        Tool.Shell($"truncate -s {mebibytes}M image; mkfs.fat {make} image > /dev/null; mkdir content; python3 age-mtools.py {mebibytes}", _scratch.Folder);
        VolumeListing ours = VolumeListing.Of(new FatFormat(), File.ReadAllBytes(_scratch["image"]));
        List<string> content = VolumeListing.OfFolder(_scratch["content"]);
        Assert.True(content.Count > 100, $"{content.Count} files only");
        Assert.Empty(ours.Gaps);
        Assert.Equal(content, ours.Files);
    }

    private const string MtoolsScript = """
        import os, random, subprocess, sys
        r = random.Random(11)
        pool = r.randbytes(2 << 20)
        limit = int(sys.argv[1]) * 1024 * 1024 * 95 // 100
        files, folders, used = {}, [""], 0
        def mtools(program, *arguments):
            subprocess.run([program, "-i", "image", *arguments], check=True, stdout=subprocess.DEVNULL)
        def put(path, size):
            global used
            at = r.randrange(len(pool) - size)
            with open("content/" + path, "wb") as f:
                f.write(pool[at:at + size])
            mtools("mcopy", "-o", "content/" + path, "::/" + path)
            used += size - files.get(path, 0)
            files[path] = size
        def delete(path):
            global used
            mtools("mdel", "::/" + path)
            os.unlink("content/" + path)
            used -= files.pop(path)
        for i in range(8):
            folders.append("folder %d/" % i)
            mtools("mmd", "::/folder %d" % i)
            os.mkdir("content/folder %d" % i)
        made = 0
        while made < 600 and used < limit:
            made += 1
            kind = r.random()
            size = int(250_000 * r.random() ** 3)
            if kind < 0.55 or len(files) < 10:
                put(r.choice(folders) + r.choice(["f%d", "SHORT%d.TXT", "a long name of file %d"]) % made, size)
            elif kind < 0.75:
                delete(r.choice(list(files)))
            elif kind < 0.88:
                put(r.choice(list(files)), size)
            else:
                old = r.choice(list(files))
                new = os.path.dirname(old) + ("/" if "/" in old else "") + "renamed %d" % made
                mtools("mren", "::/" + old, "::/" + new)
                os.rename("content/" + old, "content/" + new)
                files[new] = files.pop(old)
        while used < limit:
            made += 1
            put(r.choice(folders) + "fill%d" % made, min(400_000, limit - used + 1))
        """;

    private static void AssertAged(int names) => Assert.True(names > 400, $"{names} names only");
}
