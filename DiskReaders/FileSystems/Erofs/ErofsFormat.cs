using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>EROFS. Specification: Linux kernel documentation, "EROFS - Enhanced Read-Only File System", erofs.docs.kernel.org "On-disk format", and erofs_fs.h.</summary>
public sealed class ErofsFormat : IFileSystemFormat
{
    private const string Structure = "erofs_super_block";

    public string Name => "erofs";

    public FormatSupport Support { get; } = new(
        "EROFS",
        "flat, inline, chunked and compressed files (LZ4, MicroLZMA, deflate, zstd), big clusters, packed tails and fragments",
        "data on extra devices, 48-bit layout");

    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        Span<byte> magic = stackalloc byte[sizeof(uint)];
        return volume.TryRead(ErofsSuperblock.Offset, magic) && BinaryPrimitives.ReadUInt32LittleEndian(magic) == ErofsSuperblock.Magic;
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        Span<byte> bytes = stackalloc byte[ErofsSuperblock.Size];
        Bounds.Check(ErofsSuperblock.Offset, bytes.Length, volume.Length, Structure);
        volume.Read(ErofsSuperblock.Offset, bytes);
        var super = new ErofsSuperblock(new LeView(bytes, Structure, ErofsSuperblock.Offset));
        if (super.HasChecksum)
        {
            VerifyChecksum(super, volume, context, BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]));
        }

        long size = super.Blocks << super.BlockShift;
        if (size > volume.Length)
        {
            context.Gaps.Add(new CoverageGap(Fault.Truncated, "", Structure, volume.Length, size - volume.Length, "the volume is shorter than the file system"));
        }

        return new ErofsFileSystem(new ErofsVolume(super, volume, context));
    }

    private static void VerifyChecksum(ErofsSuperblock super, IBlockSource volume, ReadContext context, uint stored)
    {
        using RentedBuffer block = context.Budget.Rent(super.ChecksumBytes);
        Bounds.Check(ErofsSuperblock.Offset, block.Length, volume.Length, Structure);
        volume.Read(ErofsSuperblock.Offset, block.Span);
        if (ErofsSuperblock.Checksum(block.Span) != stored)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", Structure, ErofsSuperblock.Offset + 4, 0, "bad checksum"));
        }
    }
}
