using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Fat;

public sealed class FatMutationTests
{
    [Fact]
    public void A_damaged_fat12_gives_data_or_a_format_exception()
    {
        var builder = new FatBuilder();
        builder.Root("LABEL      ", 0, 0, 0x08).Long("long name", "LONGNA~1   ").Root("LONGNA~1   ", 5, 2000).Root("SUB        ", 10, 0, 0x10)
            .Chain(5, 6, 8, 7).Chain(10, 12)
            .Folder(10, (".          ", 10, 0x10), ("..         ", 0, 0x10), ("DEEPER     ", 11, 0x10), ("B       BIN", 20, 0x20)).Folder(12)
            .Chain(11).Folder(11, ("C       BIN", 21, 0x20)).Chain(20, 21);
        List<(long, long)> regions = [(11, 30), (builder.FatAt(0), 40), (builder.FatAt(1), 40), ((builder.DataSector - 1) * 512, 160), ((builder.DataSector + 8) * 512, 128), ((builder.DataSector + 9) * 512, 32)];
        Mutations.Check(builder.Image, FatImages.ReadAll, regions);
    }

    [Fact]
    public void A_damaged_fat32_gives_data_or_a_format_exception()
    {
        byte[] image = SmallFat32();
        int data = DataAt(image);
        Mutations.Check(image, FatImages.ReadAll, [(11, 60), (FatAt, 64), (FatAt, 64), (data, 160), (data + (2 * 512), 96)]);
    }

    private const int FatAt = 8 * 512;

    private static int DataAt(byte[] image) => FatAt + (2 * BitConverter.ToInt32(image, 36) * 512);

    // mtools takes a FAT32 this small for a FAT12, so its entries are written here: a file in pieces, a folder with another.
    private static byte[] SmallFat32()
    {
        using var scratch = new Scratch();
        byte[] image = File.ReadAllBytes(FatImages.MakeKib(scratch, 128, null, "-F", "32", "-s", "1", "-R", "8", "-n", "LABEL"));
        (int Cluster, int Next)[] chain = [(3, 5), (5, 6), (6, 0x0FFF_FFFF), (4, 7), (7, 0x0FFF_FFFF), (8, 0x0FFF_FFFF)];
        foreach ((int cluster, int next) in chain)
        {
            BitConverter.TryWriteBytes(image.AsSpan(FatAt + (4 * cluster)), next);
            BitConverter.TryWriteBytes(image.AsSpan(FatAt + ((DataAt(image) - FatAt) / 2) + (4 * cluster)), next);
        }

        var names = new FatBuilder().Long("long name", "LONGNA~1   ").Root("LONGNA~1   ", 3, 1400).Root("SUB        ", 4, 0, 0x10);
        names.Image.AsSpan((names.DataSector - 1) * 512, 96).CopyTo(image.AsSpan(DataAt(image) + 32));
        var below = new FatBuilder().Folder(2, (".          ", 4, 0x10), ("B       BIN", 8, 0x20), ("EMPTY      ", 0, 0x10));
        below.Cluster(2).CopyTo(image.AsSpan(DataAt(image) + (2 * 512)));
        below.Folder(2).Cluster(2).CopyTo(image.AsSpan(DataAt(image) + (5 * 512)));
        Assert.Equal(2, FatImages.List(image).Files.Count);
        return image;
    }
}
