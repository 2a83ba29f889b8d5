using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Erofs;

/// <summary>Images that the tests write themselves: the kernel must read them as this reader does.</summary>
public sealed class ErofsAlgorithmTests
{
    private static readonly ErofsFormat Format = new();

    [Fact]
    public void Algorithms_fragments_and_interlaced_clusters_equal_the_kernels_mount()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["image"], Everything());
        List<string> ours = PackedListing.OursWithoutGaps(Format, scratch["image"]);
        Assert.Equal(9, ours.Count);
        ExtListing.AssertEqual(ExtListing.Kernel(scratch["image"]), ours);
    }

    [Fact]
    public void Damage_gives_data_or_a_fault()
    {
        byte[] image = Everything();
        Mutations.Check(
            image,
            (bytes, context) => PackedListing.ReadAll(Format, bytes, context),
            [(1024, 256), (4096 + 64, 64), (4096 + 256, 8 << 10), (4096 * 9, image.Length - (4096 * 9))],
            Mutations.PerFormat / 4);
    }

    [Fact]
    public void A_packed_inode_that_is_its_own_fragment_is_refused()
    {
        var writer = new ErofsWriter();
        writer.AddPackedInode(new byte[4096]);
        writer.AddFragment("f", 10, 0);
        byte[] image = writer.Build();

        // packed_nid leads to the file that is a fragment.
        image[1024 + 96] = 8 + 32;
        using var source = new MemorySource(image);
        Assert.Equal(["f"], PackedListing.Faults(Format, source));
    }

    internal static byte[] Everything()
    {
        byte[] code = File.ReadAllBytes("/bin/bash").AsSpan(0, 60_000).ToArray();
        var writer = new ErofsWriter();
        byte[] packed = code[..9000];
        writer.AddPackedInode(packed);
        writer.AddPacked("lzma", code, 1);
        writer.AddPacked("lzma1", code[..3000], 1);
        writer.AddPacked("deflate", code, 2);
        writer.AddPacked("zstd", code, 3);
        writer.AddPacked("zstd1", code[..4000], 3);
        byte[] halves = [.. new byte[5096], .. code[..3904]];
        writer.AddInterlaced("interlaced", halves, 5096);
        writer.AddFragment("fragment", 5000, 3000);
        writer.AddTail("tail", code[..5000], 100);
        writer.AddFragment("fragment2", 1, 0);
        return writer.Build();
    }
}
