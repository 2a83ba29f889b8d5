using System.Buffers.Binary;
using Vmsweep.DiskReaders.FileSystems.SquashFs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.SquashFs;

/// <summary>Damaged images give data, gaps or <see cref="DiskReaders.Blocks.DiskFormatException"/>, within time and memory.</summary>
public sealed class SquashFsMutationTests
{
    internal const string Tree = """
        mkdir -p tree/a/b tree/many; head -c 20000 /bin/bash > tree/code; head -c 5000 /dev/urandom > tree/noise; printf tiny > tree/tiny
        truncate -s 300000 tree/sparse; printf mid | dd of=tree/sparse bs=1 seek=200000 conv=notrunc status=none
        for i in $(seq 1 30); do printf "content $i" > "tree/many/a name $i"; done; ln tree/tiny tree/a/hard; ln -s short tree/link; mkfifo tree/fifo
        """;

    [Theory]
    [InlineData("-comp gzip -noI -noId -b 4096", 6)]
    [InlineData("-comp xz -Xbcj x86,arm -noI -b 8192", 10)]
    [InlineData("-comp lzma -b 8192", 10)]
    [InlineData("-comp lzo -noI -b 8192", 10)]
    [InlineData("-comp lz4 -b 8192", 10)]
    [InlineData("-comp zstd -noI -b 8192", 10)]
    public void Damage_gives_data_or_a_fault(string options, int share)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tree}\nmksquashfs tree image -no-progress -quiet -nopad {options} > /dev/null", scratch.Folder);
        byte[] image = File.ReadAllBytes(scratch["image"]);
        long inodes = BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan(64));
        var format = new SquashFsFormat();
        Mutations.Check(
            image,
            (bytes, context) => PackedListing.ReadAll(format, bytes, context),
            [(0, 96), (96, inodes - 96), (inodes, image.Length - inodes), (inodes, image.Length - inodes), (inodes, image.Length - inodes)],
            Mutations.PerFormat / share);
    }
}
