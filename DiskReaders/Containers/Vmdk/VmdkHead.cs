using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

internal enum VmdkHeadKind
{
    /// <summary>No magic: a descriptor, if anything.</summary>
    Text,

    /// <summary>Hosted sparse or stream-optimized extent.</summary>
    Hosted,

    /// <summary>ESXi host sparse extent.</summary>
    CowDisk,

    /// <summary>Space-efficient sparse extent.</summary>
    SeSparse,
}

/// <summary>What a VMDK file begins with: a descriptor, or a sparse extent's header with or without one.</summary>
/// <param name="Descriptor">The descriptor; null when an extent has none.</param>
/// <param name="Header">The header of a file that is itself the disk's only extent.</param>
internal sealed record VmdkHead(VmdkDescriptor? Descriptor, SparseExtentHeader? Header)
{
    /// <summary>True when the extents are files that the descriptor names.</summary>
    public bool ExtentsAreFiles => Header is null;

    public static VmdkHeadKind KindOf(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < sizeof(ulong))
        {
            return VmdkHeadKind.Text;
        }

        return BinaryPrimitives.ReadUInt32LittleEndian(bytes) switch
        {
            SparseExtentHeader.MagicNumber => VmdkHeadKind.Hosted,
            CowDiskHeader.MagicNumber => VmdkHeadKind.CowDisk,
            _ => BinaryPrimitives.ReadUInt64LittleEndian(bytes) == SeSparseConstHeader.MagicNumber ? VmdkHeadKind.SeSparse : VmdkHeadKind.Text,
        };
    }

    /// <param name="file">The image.</param>
    /// <param name="budget">Holds the descriptor's text while it is parsed.</param>
    /// <exception cref="DiskFormatException">Header or descriptor is bad.</exception>
    public static VmdkHead Read(ImageFile file, ScanBudget budget)
    {
        CheckLength(file);
        Span<byte> first = stackalloc byte[SparseExtentHeader.Size];
        first = first[..(int)Math.Min(first.Length, file.Bytes.Length)];
        file.Bytes.Read(0, first);
        switch (KindOf(first))
        {
            case VmdkHeadKind.Text:
                if (file.Bytes.Length > VmdkLimits.MostDescriptorBytes)
                {
                    throw new DiskFormatException(Fault.Limit, "VMDK descriptor", 0, $"{file.Bytes.Length} bytes; a descriptor has at most {VmdkLimits.MostDescriptorBytes}");
                }

                return new VmdkHead(ReadDescriptor(file, 0, (int)file.Bytes.Length, budget), null);
            case VmdkHeadKind.Hosted:
                var header = new SparseExtentHeader(new LeView(first, "SparseExtentHeader", 0));
                VmdkDescriptor? descriptor = header.DescriptorOffset == 0
                    ? null
                    : ReadDescriptor(file, header.DescriptorOffset * VmdkLimits.SectorBytes, (int)header.DescriptorSize * VmdkLimits.SectorBytes, budget);
                return new VmdkHead(descriptor, header.Capacity == 0 ? null : header);
            default:
                // Holes of these show a parent that only the descriptor names; alone they would read as zeros.
                throw new DiskFormatException(Fault.MissingParent, "VMDK extent", 0, "this is an extent without its descriptor; open the descriptor");
        }
    }

    public static void CheckLength(ImageFile file)
    {
        if (file.Bytes.Length > VmdkLimits.MostFileBytes)
        {
            throw new DiskFormatException(Fault.Limit, "VMDK file", -1, $"{file.Bytes.Length} bytes");
        }
    }

    private static VmdkDescriptor ReadDescriptor(ImageFile file, long offset, int length, ScanBudget budget)
    {
        Bounds.Check(offset, length, file.Bytes.Length, "VMDK descriptor");
        using RentedBuffer text = budget.Rent(length);
        file.Bytes.Read(offset, text.Span);
        return VmdkDescriptor.Parse(text.Span, offset);
    }
}
