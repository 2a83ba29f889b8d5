using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>SquashFS 4.0. Specification: "SquashFS Binary Format" (dr-emann.github.io/squashfs) and Linux kernel documentation, "Squashfs 4.0 Filesystem".</summary>
public sealed class SquashFsFormat : IFileSystemFormat
{
    private const int VersionEnd = 30;
    private const ushort Version = 4;

    public string Name => "squashfs";

    public FormatSupport Support { get; } = new(
        "SquashFS 4.0",
        "gzip, lzma, lzo, xz with its filters for executables, lz4, zstd; fragments, sparse blocks",
        "versions before 4, big-endian");

    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        Span<byte> start = stackalloc byte[VersionEnd];
        return volume.TryRead(0, start) && start.StartsWith("hsqs"u8) && BinaryPrimitives.ReadUInt16LittleEndian(start[28..]) == Version;
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        Span<byte> bytes = stackalloc byte[SquashFsSuperblock.Size];
        Bounds.Check(0, bytes.Length, volume.Length, "squashfs superblock");
        volume.Read(0, bytes);
        var super = new SquashFsSuperblock(new LeView(bytes, "squashfs superblock", 0));
        if (super.BytesUsed > volume.Length)
        {
            context.Gaps.Add(new CoverageGap(Fault.Truncated, "", "squashfs superblock", volume.Length, super.BytesUsed - volume.Length, "the volume is shorter than the file system"));
        }

        var opened = new SquashFsVolume(super, volume, context);
        return new SquashFsFileSystem(opened);
    }
}
