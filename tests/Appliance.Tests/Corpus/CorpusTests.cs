using System.Security.Cryptography;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Corpus;

/// <summary>Every image of the corpus: what is read equals its listing, what is not read is a named gap.</summary>
public sealed class CorpusTests
{
    /// <summary>Images that hold nothing but what is read: no gap may excuse a missing file.</summary>
    private static readonly string[] ReadInFull =
    [
        "sweep-ext4_", "sweep-ntfs3_", "sweep-vfat_", "sweep-msdos_", "du-ext4", "dv-ext2vmdk", "dv-imagevmdk", "ms-ntfs-", "vr-monolithicSparse", "cf-testfs1", "js-tiny",
        "dv-ext2qcow2", "dv-imageqcow2", "dv-lvmqcow2", "sweep-xfs_", "sweep-btrfs_", "sweep-squashfs_", "sweep-erofs_", "dv-ext2vhd", "dv-image.vhd", "dv-image-differential.vhd",
        "go-exfat", "sweep-exfat_", "sc-qcow2", "sc-vmdk", "dv-iso9660", "du-appleiso", "la-test_read_format_iso", "sweep-iso9660_0", "sweep-iso9660_2", "sweep-iso9660_6",
        "sweep-iso9660_8", "sweep-iso9660_12", "sweep-iso9660_14", "sweep-udf_0", "sweep-udf_1", "sweep-udf_20", "sweep-udf_22", "sweep-udf_24", "sweep-udf_28",
        "sweep-udf_3", "sweep-udf_4", "sweep-udf_5", "sweep-udf_6", "sweep-udf_8", "du-btrfs", Unlisted,
    ];

    /// <summary>Read with its password by <see cref="EncryptedImageTests"/>.</summary>
    private const string NeedsPassword = "sc-qcow2-aes";

    /// <summary>Its listing is empty, although the Sleuth Kit lists both of its partitions.</summary>
    private const string Unlisted = "dv-mbr";

    /// <summary>The one thing that is wrong with an image that is read in full all the same: the structure that must be reported.</summary>
    private static readonly Dictionary<string, string> Flaws = new(StringComparer.Ordinal)
    {
        // The volume was copied while it was mounted.
        ["js-tiny"] = "$LogFile",
        ["dv-image.vhd"] = "VHD ",
        ["dv-image-differential.vhd"] = "VHD ",
    };

    /// <summary>Discs whose listing was made by the Sleuth Kit, which does not see the Rock Ridge names that the kernel shows: only contents are compared.</summary>
    private static readonly string[] ListedWithoutRockRidge = ["du-appleiso", "sweep-iso9660_2", "sweep-iso9660_8"];

    private static readonly string[] ReadFileSystems = ["ntfs", "ext2", "ext3", "ext4", "fat12", "fat16", "fat32", "xfs", "btrfs", "exfat", "iso9660", "udf", "squashfs", "erofs"];

    public static TheoryData<string> Ids() => CorpusImages.IsThere ? [.. CorpusImages.All().Select(i => i.Id)] : ["(no corpus)"];

    [Theory]
    [MemberData(nameof(Ids))]
    public void An_image_equals_its_listing_or_is_a_named_gap(string id)
    {
        Assert.SkipUnless(CorpusImages.IsThere, $"there is no corpus at {CorpusImages.Folder}; VMSWEEP_CORPUS names it");
        CorpusImage image = CorpusImages.All().Single(i => i.Id == id);
        using var scratch = new Scratch();
        string path = CorpusImages.Unpack(image, scratch.Folder);
        List<WorkerEvent> events = InProcess.List(path);
        IReadOnlyList<GapReport> gaps = events.Gaps();
        IReadOnlyList<VolumeReport> volumes = [.. events.OfType<VolumeEvent>().Select(v => v.Volume)];

        // A volume whose file system is read must list all that others list; one that is not must be a gap.
        // Names of FAT without a long name, and plain ones of ISO 9660, have no case of their own: some of the listings' tools show them in lower case.
        HashSet<string> ours = new(events.Lines(), StringComparer.Ordinal);
        HashSet<string> oursInAnyCase = new(ours, StringComparer.OrdinalIgnoreCase);
        foreach (string line in CorpusImages.ListingOf(image).Where(l => !l.Contains("(Volume Label Entry)", StringComparison.Ordinal)))
        {
            string volume = line[..line.IndexOf('/', StringComparison.Ordinal)];
            VolumeReport? on = volumes.FirstOrDefault(v => v.Id == volume && ReadFileSystems.Contains(v.FileSystem));
            bool isThere = on is not null && (on.FileSystem.StartsWith("fat", StringComparison.Ordinal) || on.FileSystem == "iso9660" ? oursInAnyCase : ours).Contains(line);
            if (ListedWithoutRockRidge.Contains(id))
            {
                string content = line[line.IndexOf('\t', StringComparison.Ordinal)..];
                isThere |= ours.Any(o => o.EndsWith(content, StringComparison.Ordinal)) || content.StartsWith("\t0\t", StringComparison.Ordinal);
            }

            Assert.True(on is not null ? isThere : gaps.Count > 0, $"{id}: \"{line}\" is missing; there is {Near(ours, line)}; gaps: {string.Join("; ", gaps)}");
        }

        if (id != NeedsPassword && ReadInFull.Any(p => id.StartsWith(p, StringComparison.Ordinal)))
        {
            string? flaw = Flaws.GetValueOrDefault(id);
            Assert.DoesNotContain(gaps, g => flaw is null || !g.Structure.StartsWith(flaw, StringComparison.Ordinal));
            Assert.True(flaw is null || gaps.Count > 0, $"{id} is flawed and no gap says so");
            Assert.NotEmpty(volumes);
        }

        bool isClean = gaps.Count == 0;
        bool isRaw = image.Container.StartsWith("raw", StringComparison.Ordinal);
        Assert.True(!isClean || volumes.All(v => v.FileSystem == "empty" || ReadFileSystems.Contains(v.FileSystem)), $"{id} is without a gap although {string.Join(", ", volumes.Select(v => v.FileSystem))} is not read");
        Assert.All(gaps, g => Assert.False(g.Detail.Contains("unexpectedly", StringComparison.Ordinal), g.ToString()));
        if (image.RawSha256.Length > 0 && !isRaw && events.OfType<DiskEvent>().Any())
        {
            using var chain = new ChainOpener(InProcess.Disk(path).Plan, new ReadContext(new ScanBudget(64 << 20), new GapList()));
            using DiskReaders.Containers.VirtualDisk disk = chain.OpenDisk();
            Assert.Equal(image.RawSha256, disk.Content.Sha256());
        }
    }

    [Fact]
    public void An_image_without_a_listing_equals_what_the_Sleuth_Kit_reads_of_it()
    {
        Assert.SkipUnless(CorpusImages.IsThere, $"there is no corpus at {CorpusImages.Folder}; VMSWEEP_CORPUS names it");
        using var scratch = new Scratch();
        string path = CorpusImages.Unpack(CorpusImages.All().Single(i => i.Id == Unlisted), scratch.Folder);
        List<string> expected = [];
        foreach ((string volume, string sector) in ((string, string)[])[("v1", "1"), ("v2", "131")])
        {
            foreach (string[] file in Tool.Run("fls", "-o", sector, "-F", "-r", "-p", path).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split('\t')).Where(f => f[0].StartsWith("r/r", StringComparison.Ordinal)))
            {
                byte[] content = Tool.RunRaw("icat", null, "-o", sector, path, file[0].Split(' ')[1].TrimEnd(':'));
                expected.Add($"{volume}/{file[1]}\t{content.Length}\t{Convert.ToHexStringLower(SHA256.HashData(content))}");
            }
        }

        Assert.Equal(6, expected.Count);
        Assert.Equal(expected.Order(StringComparer.Ordinal), InProcess.List(path).Lines().Where(l => !l.EndsWith('\t')).Order(StringComparer.Ordinal));
    }

    private static string Near(IEnumerable<string> ours, string line) =>
        ours.FirstOrDefault(o => o.Split('\t')[0] == line.Split('\t')[0]) ?? "nothing of that name";
}
