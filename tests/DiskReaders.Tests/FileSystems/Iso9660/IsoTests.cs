using System.Buffers.Binary;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Iso9660;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Iso9660;

public sealed class IsoTests
{
    private const string Tree = """
        mkdir -p d/a/b/c/e/f/g/h/i/j d/many; for i in $(seq 1 200); do echo $i > "d/many/a rather long name of number $i.text"; done
        head -c 300000 /dev/urandom > d/large; : > d/empty; echo deep > d/a/b/c/e/f/g/h/i/j/deep; ln -s ../large d/a/link; ln -s /etc/./x d/abs
        y=$(printf 'y%.0s' $(seq 1 30)); ln -s $y/$y d/longlink; echo x > "d/$(printf 'n%.0s' $(seq 1 240))"; head -c 100000 /dev/zero > d/zeros
        """;

    private static readonly Lazy<byte[]> CachedRock = new(() => Make("mkdir -p d/a/b d/many; for i in 1 2 3 4; do echo $i > \"d/many/name $i\"; done; head -c 9000 /dev/urandom > d/large; ln -s ../large d/a/link; echo \"$(seq 1 9999)\" > d/text; mkzftree d z 2>/dev/null || cp -r d z", "genisoimage -quiet -R -J -z -o x z"));

    [Theory]
    [InlineData("genisoimage -quiet -R -o x d")]
    [InlineData("genisoimage -quiet -R -J -joliet-long -o x d")]
    [InlineData("genisoimage -quiet -r -l -hide-rr-moved -o x d")]
    [InlineData("xorriso -outdev x -map d / > /dev/null 2>&1")]
    [InlineData("xorriso -as mkisofs -o x -J d > /dev/null 2>&1")]
    public void Files_and_links_equal_the_folder_they_were_made_of(string make)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\n{make}", scratch.Folder);
        VolumeListing ours = VolumeListing.Of(new Iso9660Format(), File.ReadAllBytes(scratch["x"]));
        Assert.Equal(VolumeListing.OfFolder(scratch["d"]), ours.Files);
        Assert.Empty(ours.Gaps);
        Assert.Equal(["a/link -> ../large", "abs -> /etc/./x", "longlink -> " + string.Join('/', Enumerable.Repeat(new string('y', 30), 2))], ours.Links);
        Assert.Equal(Tool.Run("blkid", "-p", "-o", "value", "-s", "UUID", scratch["x"]).Trim(), ours.Facts.Id);
    }

    [Theory]
    [InlineData("genisoimage -quiet -J -o x d", "Some Name.txt")]
    [InlineData("genisoimage -quiet -o x d", "some_nam.txt")]
    [InlineData("genisoimage -quiet -iso-level 4 -o x d", "some name.txt")]
    public void Without_rock_ridge_names_are_those_of_the_tree_there_is(string make, string name)
    {
        using var scratch = new Scratch();
        Tool.Shell($"mkdir d; echo 1 > 'd/Some Name.txt'\n{make}", scratch.Folder);
        VolumeListing ours = VolumeListing.Of(new Iso9660Format(), File.ReadAllBytes(scratch["x"]));
        Assert.Equal(name, Assert.Single(ours.Files).Split('\t')[0]);
        Assert.Empty(ours.Gaps);
    }

    [Fact]
    public void A_file_of_several_extents_has_the_bytes_of_all()
    {
        byte[] image = Make("mkdir d; head -c 3000 /dev/urandom > d/a; head -c 500 /dev/urandom > d/b", "genisoimage -quiet -o x d");
        using var sound = new MemorySource((byte[])image.Clone());
        using IFileSystem before = new Iso9660Format().Open(sound, new ReadContext(new ScanBudget(1 << 24), new GapList()));
        byte[][] parts = [.. before.Walk().Where(f => f.Kind == GuestFileKind.Regular).Select(f => before.OpenContent(f).ReadAll())];
        int root = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x8000 + 158)) * 2048;
        image[RecordOf(image, root, "A.;1"u8) + 25] |= 0x80;
        string line = Assert.Single(VolumeListing.Of(new Iso9660Format(), image).Files);
        Assert.Equal($"b\t3500\t{Convert.ToHexStringLower(SHA256.HashData((byte[])[.. parts[0], .. parts[1]]))}", line);
    }

    [Fact]
    public void A_bridge_to_udf_is_read_once()
    {
        using var scratch = new Scratch();
        Tool.Shell("mkdir d; echo 1 > d/a; genisoimage -quiet -R -J -udf -o x d", scratch.Folder);
        using var source = new FileSource(scratch["x"]);
        Assert.Equal(["udf"], FileSystemFormats.Identify(source).Names);
    }

    [Fact]
    public void What_only_joliet_shows_is_read_too()
    {
        using var scratch = new Scratch();
        Tool.Shell("mkdir d; echo 1 > d/seen; echo 2 > d/hidden; genisoimage -quiet -R -J -hide hidden -o x d", scratch.Folder);
        Assert.Equal(["$Joliet/hidden", "seen"], VolumeListing.Of(new Iso9660Format(), File.ReadAllBytes(scratch["x"])).Files.Select(f => f.Split('\t')[0]));
    }

    [Fact]
    public void Boot_images_are_given_as_such()
    {
        using var scratch = new Scratch();
        Tool.Shell("mkdir d; head -c 2048 /dev/urandom > d/boot; genisoimage -quiet -R -b boot -no-emul-boot -boot-load-size 4 -o x d", scratch.Folder);
        using var source = new FileSource(scratch["x"]);
        using IFileSystem system = new Iso9660Format().Open(source, new ReadContext(new ScanBudget(1 << 24), new GapList()));
        GuestFile boot = system.Walk().Single(f => f.Kind == GuestFileKind.System && f.Links[0].Name.AsSpan().SequenceEqual("$Boot1"u8));
        using IBlockSource content = system.OpenContent(boot);
        Assert.Equal(File.ReadAllBytes(scratch["d/boot"]), content.ReadAll());
    }

    [Fact]
    public void Any_slicing_equals_one_read() => VolumeListing.CheckSlices(new Iso9660Format(), CachedRock.Value, f => f.SizeBytes > 100);

    [Fact]
    public void A_folder_in_itself_is_entered_once()
    {
        byte[] image = (byte[])CachedRock.Value.Clone();
        int root = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x8000 + 158)) * 2048;
        int at = RecordOf(image, root, "A"u8);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(at + 2), root / 2048);
        Assert.Contains(VolumeListing.Of(new Iso9660Format(), image).Gaps, g => g.Detail.Contains("entered before", StringComparison.Ordinal));
    }

    [Fact]
    public void An_interleaved_file_is_refused()
    {
        byte[] image = (byte[])CachedRock.Value.Clone();
        int root = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x8000 + 158)) * 2048;
        image[RecordOf(image, root, "LARGE.;1"u8) + 26] = 1;
        Assert.Contains(VolumeListing.Of(new Iso9660Format(), image).Files, f => f.StartsWith("large\t", StringComparison.Ordinal) && f.EndsWith("Unsupported", StringComparison.Ordinal));
    }

    [Fact]
    public void A_continuation_that_leads_to_itself_ends()
    {
        byte[] image = (byte[])CachedRock.Value.Clone();
        int root = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x8000 + 158)) * 2048;
        int at = RecordOf(image, root, "LARGE.;1"u8);
        int use = at + 33 + image[at + 32] + (1 - (image[at + 32] & 1));
        byte[] entry = new byte[28];
        "CE"u8.CopyTo(entry);
        entry[2] = 28;
        entry[3] = 1;
        BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(4), use / 2048);
        BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(12), use % 2048);
        BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(20), 28);
        entry.CopyTo(image, use);
        Assert.Contains(VolumeListing.Of(new Iso9660Format(), image).Gaps, g => g.Detail.Contains("continuation", StringComparison.Ordinal));
    }

    [Fact]
    public void A_disc_cut_short_is_a_gap() =>
        Assert.Contains(VolumeListing.Of(new Iso9660Format(), CachedRock.Value[..^(180 * 2048)]).Gaps, g => g.Fault == Fault.Truncated);

    [Fact]
    public void A_damaged_disc_gives_data_or_a_format_exception()
    {
        byte[] image = CachedRock.Value;
        int root = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x8000 + 158));
        int joliet = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x8800 + 158));
        Mutations.Check(image, (bytes, context) => VolumeListing.ReadAll(new Iso9660Format(), bytes, context),
            [(0x8000, 200), (0x8800, 200), (root * 2048L, 900), (root * 2048L, 900), ((root + 1) * 2048L, 500), ((root + 2) * 2048L, 500), (joliet * 2048L, 500)]);
    }

    private static byte[] Make(string tree, string make)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{tree}\n{make}", scratch.Folder);
        return File.ReadAllBytes(scratch["x"]);
    }

    private static int RecordOf(byte[] image, int folder, ReadOnlySpan<byte> name)
    {
        for (int at = folder; image[at] != 0; at += image[at])
        {
            if (image.AsSpan(at + 33, image[at + 32]).SequenceEqual(name))
            {
                return at;
            }
        }

        throw new InvalidOperationException("no such record");
    }
}
