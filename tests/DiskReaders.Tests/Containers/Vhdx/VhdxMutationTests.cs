using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhdx;

/// <summary>Thousands of damaged images each: data or a named fault, within time and memory.</summary>
public sealed class VhdxMutationTests
{
    private const int Megabyte = 1 << 20;
    private const int InSecondBlock = 64 << 10;
    private const int DiskBytes = Megabyte + InSecondBlock;

    private static readonly (long, long)[] Structures =
    [
        (VhdxWriter.HeaderAt, 80), (VhdxWriter.SecondHeaderAt, 80), (VhdxWriter.RegionsAt, 80), (VhdxWriter.SecondRegionsAt, 80),
        (VhdxWriter.MetadataAt, 256), (VhdxWriter.ItemsAt, 256), (VhdxWriter.BatAt, 64),
    ];

    /// <summary>Where <see cref="VhdxWriter.Repair"/> writes.</summary>
    private static readonly (int, int)[] Checksums =
    [
        .. new[] { VhdxWriter.HeaderAt, VhdxWriter.SecondHeaderAt, VhdxWriter.RegionsAt, VhdxWriter.SecondRegionsAt }
            .Concat(Enumerable.Range(0, Megabyte / 4096).Select(i => VhdxWriter.LogAt + (i * 4096))).Select(at => (at + 4, 4)),
    ];

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_dynamic_disks_give_data_or_a_fault() =>
        Mutations.Check(
            Short(new VhdxWriter { DiskBytes = DiskBytes }.Block(1, 6, VhdxWriter.Noise(1, Megabyte))), Read, Structures, repair: VhdxWriter.Repair, repaired: Checksums);

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_differencing_disks_give_data_or_a_fault()
    {
        var id = Guid.NewGuid();
        byte[] child = Short(new VhdxWriter { DiskBytes = DiskBytes, Parent = VhdxDifferencingTests.Locator(id) }
            .Partial(1, VhdxWriter.Noise(5, Megabyte), i => i % 7 == 0));
        Dictionary<string, byte[]> parents = VhdxDifferencingTests.Parents(VhdxDifferencingTests.Base(id));
        Mutations.Check(
            child,
            (image, context) => Read(image, context, parents),
            [.. Structures, (VhdxWriter.BatAt + (8192 * 8), 8)],
            repair: VhdxWriter.Repair, repaired: Checksums);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_logs_give_data_or_a_fault()
    {
        byte[] bat = new byte[4096];
        VhdxWriter.U64(bat, 8, (4 << 20) | 6);
        byte[] image = Short(new VhdxWriter { DiskBytes = DiskBytes }
            .Block(1, 6, VhdxWriter.Noise(1, Megabyte))
            .Log(254, 40, 254, [(VhdxWriter.BatAt, null, 8192)])
            .Log(255, 41, 254, [(VhdxWriter.BatAt, bat, 0), (VhdxWriter.BatAt + 4096, null, 4096)], flushed: 4 << 20, last: 6 << 20)
            .Log(1, 42, 255, [(VhdxWriter.BatAt, bat, 0)], flushed: 4 << 20));
        const int Log = VhdxWriter.LogAt;
        Mutations.Check(
            image,
            Read,
            [.. Structures, (Log + (254 * 4096), 96), (Log + (255 * 4096), 128), (Log + (1 * 4096), 96), (Log + (255 * 4096), 128)],
            repair: VhdxWriter.Repair, repaired: Checksums);
    }

    /// <summary>Without the rest of the last block, which lies beyond the disk: each mutation copies the image.</summary>
    private static byte[] Short(VhdxWriter writer) => writer.Build()[..^(Megabyte - InSecondBlock)];

    private static void Read(byte[] image, ReadContext context) => Read(image, context, new Dictionary<string, byte[]>());

    private static void Read(byte[] image, ReadContext context, IReadOnlyDictionary<string, byte[]> parents)
    {
        var format = new VhdxFormat();
        var file = new ImageFile("m.vhdx", 0, new MemorySource(image));
        using VirtualDisk disk = format.Open(file, new FakeChain(format, context, parents), context);
        format.References(file);
        byte[] buffer = new byte[64 << 10];
        long length = disk.Content.Length;
        for (long at = 0; at < Math.Min(length, 4 * Megabyte); at += Megabyte / 2)
        {
            disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, length - at)));
            disk.Content.Locate(at, length - at);
        }

        disk.Content.Read(length - 512, buffer.AsSpan(0, 512));
    }
}
