using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

public sealed class VmdkMutationTests
{
    private const int ReadAtMost = 1 << 20;

    private static readonly Grain[] Grains = VmdkImages.Mixture(24, 2, zeros: true);

    [Fact]
    public void A_mutated_hosted_sparse_extent_gives_data_or_a_fault() =>
        Check(
            VmdkImages.Hosted(Grains, VmdkImages.Descriptor("monolithicSparse", "RW 384 SPARSE \"disk.vmdk\"")),
            (image, context) => Read(context, ("disk.vmdk", image)),
            [(0, 80), (512, 300), (5 * 512, 8), (6 * 512, 100), (10 * 512, 8), (11 * 512, 100)]);

    [Fact]
    public void A_mutated_stream_gives_data_or_a_fault()
    {
        byte[] image = VmdkImages.Stream(VmdkImages.Mixture(24, 2, zeros: false), VmdkImages.Descriptor("streamOptimized", "RW 384 SPARSE \"disk.vmdk\""));
        Check(
            image,
            (mutated, context) => Read(context, ("disk.vmdk", mutated)),
            [(0, 80), (5 * 512, 2048), (image.Length - 5120, 5120), (image.Length - 1024, 80)]);
    }

    [Fact]
    public void A_mutated_cow_disk_extent_gives_data_or_a_fault()
    {
        byte[] descriptor = VmdkImages.Text(VmdkImages.Descriptor("vmfsSparse", "RW 200 VMFSSPARSE \"extent\""));
        Check(
            VmdkImages.CowDisk(VmdkImages.Mixture(200, 2, zeros: false)),
            (image, context) => Read(context, ("disk.vmdk", descriptor), ("extent", image)),
            [(0, 32), (4 * 512, 8), (5 * 512, 800)]);
    }

    [Fact]
    public void A_mutated_space_efficient_sparse_extent_gives_data_or_a_fault()
    {
        byte[] descriptor = VmdkImages.Text(VmdkImages.Descriptor("seSparse", "RW 192 SESPARSE \"extent\""));
        Check(
            VmdkImages.SeSparse(Grains),
            (image, context) => Read(context, ("disk.vmdk", descriptor), ("extent", image)),
            [(0, 256), (512, 40), (4 * 512, 16), (8 * 512, 200)]);
    }

    [Fact]
    public void A_mutated_descriptor_gives_data_or_a_fault()
    {
        byte[] flat = new byte[8192];
        byte[] parent = VmdkImages.Text(VmdkImages.Descriptor("vmfs", "RW 16 VMFS \"flat\"", 0xBEEF));
        byte[] hosted = VmdkImages.Hosted([Grain.Data(1)]);
        Check(
            VmdkImages.Text(VmdkImages.Descriptor("twoGbMaxExtentSparse", "RW 8 FLAT \"flat\" 0\nRW 4 ZERO\nRW 4 SPARSE \"hosted\"", 7, 0xBEEF, "base.vmdk")),
            (image, context) => Read(context, ("disk.vmdk", image), ("base.vmdk", parent), ("flat", flat), ("hosted", hosted)),
            []);
    }

    private static void Check(byte[] image, Action<byte[], ReadContext> read, IReadOnlyList<(long Offset, long Length)> regions)
    {
        // Unharmed it must be readable, or the mutations would all end at the same gate.
        read(image, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        Mutations.Check(image, read, regions);
    }

    private static void Read(ReadContext context, params (string Name, byte[] Bytes)[] files)
    {
        using var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), VmdkRead.Formats, context);
        ImageFile file = chain.Image(files[0].Name);
        VmdkRead.Formats[0].Probe(file);
        VmdkRead.Formats[0].References(file);
        using VirtualDisk disk = VmdkRead.Formats[0].Open(file, chain, context);

        // One fault does not end the look: every grain is tried, from both ends of what may be a huge disk.
        byte[] buffer = new byte[4096];
        long step = Math.Max(buffer.Length, disk.Content.Length / (ReadAtMost / buffer.Length));
        for (long at = 0; at < disk.Content.Length; at += step)
        {
            try
            {
                disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Content.Length - at)));
                disk.Content.Locate(at, disk.Content.Length - at);
            }
            catch (DiskFormatException e) when (e.Structure.Length > 0)
            {
            }
        }
    }
}
