using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Vhd;

/// <summary>Thousands of damaged images each: data or a named fault, within time and memory.</summary>
public sealed class VhdMutationTests
{
    private const int Block = 8 << 10;

    private static readonly Guid BaseId = Guid.NewGuid();

    [Fact]
    public void Damaged_dynamic_disks_give_data_or_a_fault()
    {
        byte[] image = Dynamic().Build();
        Mutations.Check(image, (i, c) => Read(c, ("disk.vhd", i)), Structures(image), repair: VhdWriter.Repair);
    }

    [Fact]
    public void Damaged_differencing_disks_give_data_or_a_fault()
    {
        byte[] image = new VhdWriter
        {
            BlockBytes = Block, DiskBytes = 4 * Block, ParentId = BaseId, ParentName = "base.vhd",
            Locators = [("W2ru", Encoding.Unicode.GetBytes("base.vhd")), ("MacX", "file://./b%61se.vhd"u8.ToArray()), ("Mac ", new byte[128])],
        }.Block(1, VhdWriter.Noise(5, Block), i => i % 3 == 0).Build();
        byte[] parent = Dynamic().Build();
        Mutations.Check(
            image,
            (i, c) => Read(c, ("disk.vhd", i), ("base.vhd", parent)),
            [.. Structures(image), (512 + 576, 72), (VhdWriter.LocatorsAt, 64)],
            repair: VhdWriter.Repair);
    }

    [Fact]
    public void Damaged_fixed_disks_give_data_or_a_fault()
    {
        byte[] image = new VhdWriter { DiskBytes = Block }.BuildFixed(VhdWriter.Noise(1, Block));
        Mutations.Check(image, (i, c) => Read(c, ("disk.vhd", i)), [(Block, 90)], repair: VhdWriter.Repair);
    }

    private static VhdWriter Dynamic() =>
        new VhdWriter { Id = BaseId, BlockBytes = Block, DiskBytes = 4 * Block }.Block(2, VhdWriter.Noise(1, Block)).Block(0, VhdWriter.Noise(2, Block), i => i % 2 == 0);

    private static (long, long)[] Structures(byte[] image) => [(0, 90), (image.Length - 512, 90), (512, 72), (VhdWriter.TableAt, 20), (VhdWriter.TableAt + 512, 8)];

    private static void Read(ReadContext context, params (string Name, byte[] Bytes)[] files)
    {
        using var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), [Vhd.Format], context);
        ImageFile file = chain.Image(files[0].Name);
        Vhd.Format.Probe(file);
        Vhd.Format.References(file);
        using VirtualDisk disk = Vhd.Format.Open(file, chain, context);
        byte[] buffer = new byte[2048];
        long step = Math.Max(buffer.Length, disk.Content.Length / 64);
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
