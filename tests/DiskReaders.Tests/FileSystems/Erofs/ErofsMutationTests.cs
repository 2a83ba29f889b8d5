using System.Buffers.Binary;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.DiskReaders.Tests.FileSystems.SquashFs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Erofs;

/// <summary>Damaged images give data, gaps or <see cref="DiskReaders.Blocks.DiskFormatException"/>, within time and memory.</summary>
public sealed class ErofsMutationTests
{
    [Theory]
    [InlineData("")]
    [InlineData("--chunksize=4096")]
    [InlineData("-zlz4hc -C 16384 -E ztailpacking")]
    [InlineData("-zlz4 -E legacy-compress")]
    public void Damage_gives_data_or_a_fault(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{SquashFsMutationTests.Tree}\nmkfs.erofs --quiet {options} image tree > /dev/null 2>&1", scratch.Folder);
        byte[] image = File.ReadAllBytes(scratch["image"]);
        long meta = (long)BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(1024 + 40)) << 12;
        long root = meta + (BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(1024 + 14)) * 32L);
        var format = new ErofsFormat();
        Mutations.Check(
            image,
            (bytes, context) => PackedListing.ReadAll(format, bytes, context),
            [(1024, 128), (root, 512), (root, Math.Min(8192, image.Length - root)), (meta + 1152, Math.Min(8192, image.Length - meta - 1152)), (0, image.Length)],
            Mutations.PerFormat / 4,
            repair: Repair);
    }

    internal static void Repair(byte[] image)
    {
        Span<byte> block = image.AsSpan(ErofsSuperblock.Offset, 4096 - ErofsSuperblock.Offset);
        uint sum = ErofsSuperblock.Checksum(block);
        BinaryPrimitives.WriteUInt32LittleEndian(block[4..], sum);
    }
}
