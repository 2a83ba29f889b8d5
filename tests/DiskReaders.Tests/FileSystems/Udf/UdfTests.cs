using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Udf;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Udf;

public sealed class UdfTests
{
    [Theory]
    [InlineData("plain")]
    [InlineData("metadata")]
    [InlineData("virtual")]
    [InlineData("sparable")]
    public void Every_partition_map_allocation_and_entry_is_read(string map)
    {
        var writer = new UdfWriter(map);
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), writer.Image);
        Assert.Empty(ours.Gaps);
        Assert.Equal(Expected(writer), ours.Files);
        Assert.Equal(["d/link -> ../inline"], ours.Links);
        Assert.Equal(("udf", "LABEL", 512), (ours.Facts.Kind, ours.Facts.Label, ours.Facts.BlockBytes));
    }

    [Fact]
    public void Files_equal_the_folder_that_genisoimage_made_a_bridge_of()
    {
        using var scratch = new Scratch();
        Tool.Shell("""
            mkdir -p d/a/b d/many; for i in $(seq 1 300); do echo $i > "d/many/a rather long name of number $i.text"; done
            head -c 300000 /dev/urandom > d/large; : > d/empty; echo ü > d/a/b/ünïcödé; genisoimage -quiet -udf -J -R -o x d
            """, scratch.Folder);
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), File.ReadAllBytes(scratch["x"]));
        Assert.Equal(VolumeListing.OfFolder(scratch["d"]), ours.Files);
        Assert.Empty(ours.Gaps);
    }

    [Theory]
    [InlineData("-m hd -b 512 -r 1.02")]
    [InlineData("-m hd -b 2048 -r 2.01")]
    [InlineData("-m hd -b 4096 -r 2.01")]
    [InlineData("-m cdrw -b 2048 -r 1.50")]
    [InlineData("-m cdr -b 2048 -r 2.01")]
    [InlineData("-m bdr -b 2048 -r 2.60")]
    [InlineData("-m dvdram -b 2048 -r 1.50 --strategy=4096")]
    public void Volumes_of_mkudffs_open_with_the_label_and_id_that_blkid_names(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"mkudffs --new-file {options} -l 'A Label' x 32768 > /dev/null", scratch.Folder);
        using var source = new FileSource(scratch["x"]);
        Assert.True(new UdfFormat().Probe(source));
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), source);
        Assert.DoesNotContain(ours.Gaps, g => g.Fault is Fault.Corrupt or Fault.Unsupported);
        Assert.Empty(ours.Files);
        Assert.Equal(Tool.Run("blkid", "-p", "-o", "value", "-s", "LABEL", scratch["x"]).Trim(), ours.Facts.Label);
        Assert.Equal(Tool.Run("blkid", "-p", "-o", "value", "-s", "UUID", scratch["x"]).Trim(), ours.Facts.Id);
    }

    [Fact]
    public void Any_slicing_equals_one_read() => VolumeListing.CheckSlices(new UdfFormat(), new UdfWriter("metadata").Image, _ => true);

    [Fact]
    public void A_damaged_sequence_is_read_from_the_reserve()
    {
        var writer = new UdfWriter("plain");
        writer.Image.AsSpan(262 * UdfWriter.Block, 60).Fill(0x77);
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), writer.Image);
        Assert.Equal(Expected(writer), ours.Files);
        Assert.Contains(ours.Gaps, g => g.Detail.Contains("reserve", StringComparison.Ordinal));
    }

    [Fact]
    public void A_lost_anchor_is_found_at_the_end()
    {
        var writer = new UdfWriter("plain");
        writer.Image.AsSpan(256 * UdfWriter.Block, UdfWriter.Block).Clear();
        Assert.Equal(Expected(writer), VolumeListing.Of(new UdfFormat(), writer.Image).Files);
    }

    [Fact]
    public void A_lost_metadata_file_is_read_from_its_mirror()
    {
        var writer = new UdfWriter("metadata");
        writer.Image.AsSpan((300 + 100) * UdfWriter.Block, 16).Clear();
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), writer.Image);
        Assert.Equal(Expected(writer), ours.Files);
        Assert.Contains(ours.Gaps, g => g.Detail.Contains("mirror", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("inline", 2, 4, 1, "descriptor tag")]
    [InlineData("short", 3, 216 + 4, 0x7FFF_FFFF, "Corrupt")]
    [InlineData("short", 3, 212, 8, "Corrupt")]
    [InlineData("d/aed", 8, 216 + 12, 8, "Corrupt")]
    [InlineData("d/long", 6, 216 + 8, 77, "Corrupt")]
    [InlineData("inline", 2, 56, 400, "Corrupt")]
    [InlineData("inline", 2, 20, 3, "strategy")]
    [InlineData("inline", 2, 208, 500, "Extended Attributes")]
    public void A_damaged_entry_costs_its_file_alone(string path, int block, int at, int value, string says)
    {
        var writer = new UdfWriter("plain");
        BinaryPrimitives.WriteInt32LittleEndian(writer.Image.AsSpan(writer.At(block) + at), value);
        if (says != "descriptor tag")
        {
            UdfWriter.Repair(writer.Image);
        }

        VolumeListing ours = VolumeListing.Of(new UdfFormat(), writer.Image);
        Assert.True(
            ours.Gaps.Any(g => g.Path == path && g.Detail.Contains(says, StringComparison.Ordinal)) || ours.Files.Any(f => f.StartsWith(path + "\t", StringComparison.Ordinal) && f.EndsWith(says, StringComparison.Ordinal)),
            string.Join("; ", ours.Gaps) + string.Join("; ", ours.Files));
        Assert.True(ours.Files.Count >= writer.Content.Count - 1);
    }

    [Theory]
    [InlineData(1000)]
    [InlineData(513)]
    public void An_extent_that_ends_within_a_block_is_read_by_the_block_as_Linux_does(int length)
    {
        // Linux 6.1 writes such lengths where a file is appended to, and only then counts the bytes.
        var writer = new UdfWriter("plain");
        BinaryPrimitives.WriteInt32LittleEndian(writer.Image.AsSpan(writer.At(3) + 216), length);
        BinaryPrimitives.WriteInt32LittleEndian(writer.Image.AsSpan(writer.At(3) + 216 + 24), 300 + UdfWriter.Block);
        UdfWriter.Repair(writer.Image);
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), writer.Image);
        Assert.Empty(ours.Gaps);
        Assert.Equal(Expected(writer), ours.Files);
    }

    [Fact]
    public void A_damaged_name_costs_no_other()
    {
        var writer = new UdfWriter("plain");
        writer.Image[writer.At(18) + 40 + 20] ^= 0xFF;
        VolumeListing ours = VolumeListing.Of(new UdfFormat(), writer.Image);
        Assert.Equal(writer.Content.Count - 1, ours.Files.Count);
        Assert.Contains(ours.Gaps, g => g.Structure == "UDF File Identifier Descriptor");
    }

    [Fact]
    public void A_folder_in_itself_is_entered_once()
    {
        var writer = new UdfWriter("plain");
        BinaryPrimitives.WriteInt32LittleEndian(writer.Image.AsSpan(writer.At(4) + 216 + 4), 18);
        writer.Image.AsSpan(writer.At(18) + 40 + 18, 1).Fill(2);
        BinaryPrimitives.WriteInt32LittleEndian(writer.Image.AsSpan(writer.At(18) + 40 + 24), 4);
        UdfWriter.Repair(writer.Image);
        Assert.Contains(VolumeListing.Of(new UdfFormat(), writer.Image).Gaps, g => g.Detail.Contains("entered before", StringComparison.Ordinal));
    }

    [Fact]
    public void Newer_entries_that_go_round_end()
    {
        var writer = new UdfWriter("plain");
        BinaryPrimitives.WriteInt32LittleEndian(writer.Image.AsSpan(writer.At(11) + 36 + 4), 10);
        UdfWriter.Repair(writer.Image);
        Assert.Contains(VolumeListing.Of(new UdfFormat(), writer.Image).Gaps, g => g.Path == "d/chained");
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("metadata")]
    [InlineData("virtual")]
    [InlineData("sparable")]
    public void A_damaged_volume_gives_data_or_a_format_exception(string map)
    {
        var writer = new UdfWriter(map);
        List<(long, long)> regions = [(256 * 512, 32), (260 * 512, 3 * 512), (280 * 512, 80), (400 * 512, 240), (390 * 512, 300)];
        regions.AddRange(Enumerable.Range(0, 20).Select(b => ((long)writer.At(b), 300L)));
        Mutations.Check(writer.Image, (bytes, context) => VolumeListing.ReadAll(new UdfFormat(), bytes, context), regions, Mutations.PerFormat / 2, repair: UdfWriter.Repair);
    }

    private static List<string> Expected(UdfWriter writer) =>
        [.. writer.Content.Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Key}\t{c.Value.Length}\t{Convert.ToHexStringLower(SHA256.HashData(c.Value))}")).Order(StringComparer.Ordinal)];
}
