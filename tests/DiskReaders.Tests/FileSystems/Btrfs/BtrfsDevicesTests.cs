using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Several devices, each profile, whole and damaged.</summary>
public sealed class BtrfsDevicesTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData(1, "dup", 0)]
    [InlineData(2, "single", 0)]
    [InlineData(3, "raid0", 0)]
    [InlineData(2, "raid1", 1)]
    [InlineData(3, "raid1c3", 2)]
    [InlineData(4, "raid1c4", 3)]
    [InlineData(4, "raid10", 1)]
    [InlineData(3, "raid5", 1)]
    [InlineData(4, "raid5", 1)]
    [InlineData(4, "raid6", 2)]
    [InlineData(5, "raid6", 2)]
    public void Each_profile_is_read_whole_with_damaged_copies_and_without_devices(int devices, string profile, int redundancy)
    {
        string[] images = BtrfsImages.Make(_scratch, devices, $"-d {profile} -m {profile}", BtrfsImages.Mixture, "", "300M");
        List<string> whole = BtrfsListing.OursWithoutGaps(images, out FileSystemFacts facts);
        ExtListing.AssertEqual(BtrfsListing.Kernel(images), whole);
        Assert.Contains(facts.Notes, n => n.Contains(profile, StringComparison.OrdinalIgnoreCase));
        var format = new BtrfsFormat();
        foreach (string image in images)
        {
            using var source = new FileSource(image);
            Assert.Equal(devices > 1 ? facts.Id : null, format.SpanIdentity(source));
        }

        ExtListing.AssertEqual(whole, BtrfsListing.OursWithoutGaps([.. images.Reverse()], out _));
        if (redundancy > 0)
        {
            // All but the superblock of as many devices as may fail.
            foreach (string image in images[..redundancy])
            {
                Tool.Run("cp", "--sparse=always", image, image + ".good");
                Tool.Shell($"dd if=/dev/urandom of={image} bs=1M seek=1 count=20 conv=notrunc status=none; dd if=/dev/urandom of={image} bs=1M seek=22 count=42 conv=notrunc status=none; dd if=/dev/urandom of={image} bs=1M seek=65 count=200 conv=notrunc status=none");
            }

            ExtListing.AssertEqual(whole, BtrfsListing.OursWithoutGaps(images, out facts));
            Assert.Contains(facts.Notes, n => n.Contains("read from another", StringComparison.Ordinal));

            var gaps = new GapList();
            ExtListing.AssertEqual(whole, BtrfsListing.Ours(images[redundancy..], gaps, out _));
            Assert.Equal(redundancy, gaps.Count);
            Assert.All(gaps.ToList(), g => Assert.Equal(("device", Fault.MissingParent), (g.Structure, g.Fault)));

            gaps = new GapList();
            string[] other = [.. images[..redundancy].Select(i => i + ".good").Concat(images[redundancy..]).Take(devices - redundancy)];
            ExtListing.AssertEqual(whole, BtrfsListing.Ours(other, gaps, out _));
            Assert.Equal(redundancy, gaps.Count);
        }
    }

    [Fact]
    public void Without_redundancy_a_missing_device_costs_the_files_that_lie_on_it_and_never_reads_as_zeros()
    {
        string[] images = BtrfsImages.Make(_scratch, 3, "-d raid0 -m raid1c3", BtrfsImages.Mixture, "", "300M");
        List<string> whole = BtrfsListing.OursWithoutGaps(images, out _);
        var gaps = new GapList();
        List<string> part = BtrfsListing.Ours(images[..2], gaps, out _);
        CoverageGap gap = Assert.Single(gaps.ToList());
        Assert.Contains("device 3", gap.Detail, StringComparison.Ordinal);
        Assert.Equal(whole.Count, part.Count);
        Assert.Contains(part, l => l.EndsWith("MissingParent large", StringComparison.Ordinal));
        Assert.All(part.Except(whole), l => Assert.Contains("MissingParent", l, StringComparison.Ordinal));
        Assert.Contains(part, l => l.EndsWith(" tiny", StringComparison.Ordinal) && whole.Contains(l));
    }

    [Fact]
    public void Damaged_data_without_another_copy_is_a_fault_of_that_file()
    {
        string[] images = BtrfsImages.Make(_scratch, 1, "-d single -m dup", "head -c 400000 /dev/urandom > hurt; head -c 5000 /dev/urandom > sound; printf FINDME$(printf '%08192d' 1) >> hurt");
        byte[] image = File.ReadAllBytes(images[0]);
        image[image.AsSpan().IndexOf("FINDME0000"u8)] ^= 1;
        File.WriteAllBytes(images[0], image);
        List<string> lines = BtrfsListing.Ours(images, new GapList(), out _);
        Assert.Contains(lines, l => l.EndsWith("Corrupt hurt", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.EndsWith(" sound", StringComparison.Ordinal) && !l.Contains("Corrupt", StringComparison.Ordinal));
    }

    [Fact]
    public void A_device_that_missed_commits_is_read_last()
    {
        string[] images = BtrfsImages.Make(_scratch, 2, "-d raid1 -m raid1", "printf 'old old old' > file; head -c 100000 /dev/zero | tr '\\0' a > big", "nodatasum", "300M");
        Tool.Run("cp", "--sparse=always", images[0], _scratch["stale"]);
        Tool.Shell($"""
            mkdir m2; a=$(losetup --show -f {images[0]}); b=$(losetup --show -f {images[1]}); trap 'umount m2; losetup -d $a $b' EXIT
            btrfs device scan --forget >/dev/null 2>&1 || true; mount -t btrfs -o nodatasum,device=$b $a m2; head -c 100000 /dev/zero | tr '\0' b | dd of=m2/big conv=notrunc status=none; printf 'new new new' > m2/file
            """, _scratch.Folder);
        List<string> current = BtrfsListing.OursWithoutGaps(images, out _);
        var gaps = new GapList();
        ExtListing.AssertEqual(current, BtrfsListing.Ours([_scratch["stale"], images[1]], gaps, out _));
        Assert.Contains(gaps.ToList(), g => g.Detail.Contains("missed", StringComparison.Ordinal));
    }

    [Fact]
    public void A_sprout_accepts_the_nodes_of_its_seed()
    {
        string[] seed = BtrfsImages.Make(_scratch, 1, "-d single -m single", BtrfsImages.Mixture, "", "300M");
        Tool.Run("btrfstune", "-S", "1", seed[0]);
        Tool.Shell("""
            export PATH=$PATH:/usr/sbin; truncate -s 300M sprout; mkdir m2; a=$(losetup --show -f dev0); b=$(losetup --show -f sprout); trap 'umount m2; losetup -d $a $b' EXIT
            btrfs device scan --forget >/dev/null 2>&1 || true; mount -t btrfs $a m2 2>/dev/null; btrfs device add -f $b m2 >/dev/null 2>&1; mount -o remount,rw m2; echo new > m2/new; sync
            """, _scratch.Folder);
        List<string> ours = BtrfsListing.OursWithoutGaps([_scratch["sprout"], seed[0]], out _);
        Assert.Contains(ours, l => l.EndsWith(" new", StringComparison.Ordinal));
        Assert.Contains(ours, l => l.EndsWith(" large", StringComparison.Ordinal) && l.StartsWith("F 3000000 ", StringComparison.Ordinal) && l.Length >= 80);
    }
}
