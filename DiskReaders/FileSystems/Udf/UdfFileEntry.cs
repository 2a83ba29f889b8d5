using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>File Entry or Extended File Entry. Spec: ECMA-167, sections 4/14.9 and 4/14.17, ICB Tag 4/14.6; little-endian; one block.</summary>
internal readonly struct UdfFileEntry
{
    public const string Structure = "UDF file entry";

    public const int TypeDirectory = 4, TypeBlockDevice = 6, TypeCharacterDevice = 7, TypeFifo = 9, TypeSocket = 10, TypeLink = 12, TypeStreamDirectory = 13, TypeMetadata = 250, TypeMetadataMirror = 251;

    private const int StrategyDirect = 4;
    private const int StrategyChained = 4096;

    /// <summary>As many as Linux follows (UDF_MAX_ICB_NESTING).</summary>
    private const int MostNewer = 1024;

    private const int MostExtents = 1 << 20;
    private const int LongestExtent = 0x3FFF_FFFF;

    public readonly int FileType;
    public readonly long InformationLength;
    public readonly uint Uid, Links;
    public readonly ulong UniqueId;

    /// <summary>Where the stream directory's entry is; length 0 without.</summary>
    public readonly UdfLongAd Streams;

    private readonly int _descriptorKind;
    private readonly int _at;
    private readonly int _length;
    private readonly long _offset;
    private readonly int _partition;

    /// <param name="volume">The volume.</param>
    /// <param name="block">The entry's address.</param>
    /// <param name="partition">The entry's partition.</param>
    /// <param name="bytes">Takes the block; kept by the caller as long as extents are read.</param>
    public UdfFileEntry(UdfVolume volume, uint block, int partition, Span<byte> bytes)
    {
        (_offset, _partition, int tag) = ReadLast(volume, block, partition, bytes);
        var v = new LeView(bytes[..volume.BlockBytes], Structure, _offset);

        FileType = v.U8(27);
        _descriptorKind = v.U16(34) & 7;
        Uid = v.U32(36);
        Links = v.U16(48);
        InformationLength = v.NonNegative64(56, "Information Length");
        bool isExtended = tag == UdfTag.ExtendedFileEntry;
        Streams = isExtended ? new UdfLongAd(v.Field(152, UdfLongAd.Size)) : default;
        UniqueId = v.U64(isExtended ? 200 : 160);
        int header = isExtended ? 216 : 176;
        uint attributes = v.U32(header - 8);
        uint descriptors = v.U32(header - 4);
        v.Require(attributes <= v.Length - header, header - 8, "Length of Extended Attributes");
        v.Require(descriptors <= v.Length - header - (int)attributes, header - 4, "Length of Allocation Descriptors");
        _at = header + (int)attributes;
        _length = (int)descriptors;
    }

    /// <summary>The pieces of the content, as long as it is.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="bytes">The entry's own block.</param>
    public FilePiece[] Extents(UdfVolume volume, ReadOnlySpan<byte> bytes)
    {
        if (InformationLength == 0)
        {
            return [];
        }

        if (_descriptorKind == 3)
        {
            return InformationLength <= _length ? [new FilePiece(0, InformationLength, _offset + _at)] : throw Corrupt("Information Length: more than the entry holds");
        }

        int size = _descriptorKind switch { 0 => 8, 1 => 16, 2 => 20, _ => throw Corrupt("ICB Tag: allocation descriptors of an unknown kind") };
        List<FilePiece> extents = [];
        HashSet<long> continued = [];
        ReadOnlySpan<byte> descriptors = bytes.Slice(_at, _length);
        long total = 0;
        long covered = 0;
        using RentedBuffer buffer = volume.Context.Budget.Rent(volume.BlockBytes);
        while (covered < InformationLength)
        {
            if (descriptors.Length < size)
            {
                throw Corrupt($"allocation descriptors: they have {total} of {InformationLength} bytes");
            }

            uint lengthAndType = BinaryPrimitives.ReadUInt32LittleEndian(descriptors);
            int length = (int)(lengthAndType & LongestExtent);
            int locationAt = _descriptorKind == 2 ? 12 : 4;
            uint block = BinaryPrimitives.ReadUInt32LittleEndian(descriptors[locationAt..]);
            int partition = _descriptorKind == 0 ? _partition : BinaryPrimitives.ReadUInt16LittleEndian(descriptors[(locationAt + 4)..]);
            descriptors = descriptors[size..];
            if (length == 0)
            {
                throw Corrupt($"allocation descriptors: they end after {total} of {InformationLength} bytes");
            }

            int kind = (int)(lengthAndType >> 30);
            if (kind == 3)
            {
                if (!continued.Add(((long)partition << 32) | block))
                {
                    throw Corrupt("allocation descriptors: they go round");
                }

                descriptors = Continue(volume, block, partition, buffer.Span);
                continue;
            }

            // All but the last are whole blocks (4/12.1). Linux leaves others where it appended to a file, and goes by the block: each begins in the extent that has its first byte.
            long from = RoundUp(total, volume.BlockBytes);
            total += length;
            covered = Math.Min(RoundUp(total, volume.BlockBytes), InformationLength);
            if (covered > from)
            {
                Add(volume, extents, from, covered - from, kind, block, partition);
            }
        }

        return [.. extents];
    }

    private static long RoundUp(long bytes, int unit) => (bytes + unit - 1) / unit * unit;

    // Strategy 4096 (UDF 2.60, 6.6.3), for media written once: behind the entry lies an Indirect Entry that leads to a newer one.
    private static (long Offset, int Partition, int Tag) ReadLast(UdfVolume volume, uint block, int partition, Span<byte> bytes)
    {
        bytes = bytes[..volume.BlockBytes];
        using RentedBuffer buffer = volume.Context.Budget.Rent(volume.BlockBytes);
        for (int i = 0; ; i++)
        {
            long offset = volume.ReadBlock(block, partition, bytes);
            var v = new LeView(bytes, Structure, offset);
            int tag = UdfTag.Identify(v, block);
            v.Require(tag is UdfTag.FileEntry or UdfTag.ExtendedFileEntry, 0, "descriptor tag: its identifier, checksum, CRC or location");
            int strategy = v.U16(20);
            if (strategy == StrategyDirect)
            {
                return (offset, partition, tag);
            }

            if (strategy != StrategyChained)
            {
                throw v.Unsupported(20, $"strategy type {strategy}");
            }

            v.Require(block < uint.MaxValue, 20, "strategy type");
            offset = volume.ReadBlock(block + 1, partition, buffer.Span);
            var indirect = new LeView(buffer.Span, "UDF Indirect Entry", offset);
            UdfLongAd next = UdfTag.Identify(indirect, block + 1) == UdfTag.Indirect ? new UdfLongAd(indirect.Field(36, UdfLongAd.Size)) : default;
            if (!next.IsThere)
            {
                return (v.Offset, partition, tag);
            }

            if (i == MostNewer)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, offset, $"more than {MostNewer} newer entries");
            }

            (block, partition) = (next.Block, next.Partition);
        }
    }

    private void Add(UdfVolume volume, List<FilePiece> extents, long start, long length, int kind, uint block, int partition)
    {
        while (length > 0)
        {
            long run = length;
            long location = FilePiece.Zeros;
            if (kind == 0)
            {
                // 1 and 2 are not recorded: they read as zeros (4/14.14.1.1).
                (location, run) = volume.Locate(block, partition);
                run = Math.Min(run, length);
            }

            bool joins = extents.Count > 0 && (location == FilePiece.Zeros
                ? extents[^1].Location == FilePiece.Zeros
                : extents[^1].Location != FilePiece.Zeros && extents[^1].Location + extents[^1].Length == location);
            if (joins)
            {
                extents[^1] = extents[^1] with { Length = extents[^1].Length + run };
            }
            else if (extents.Count == MostExtents)
            {
                throw new DiskFormatException(Fault.Limit, Structure, _offset, $"more than {MostExtents} extents");
            }
            else
            {
                extents.Add(new FilePiece(start, run, location));
            }

            start += run;
            length -= run;
            block = unchecked(block + (uint)(run / volume.BlockBytes));
        }
    }

    // Allocation Extent Descriptor (4/14.5).
    private static ReadOnlySpan<byte> Continue(UdfVolume volume, uint block, int partition, Span<byte> buffer)
    {
        const int Header = 24;
        long offset = volume.ReadBlock(block, partition, buffer);
        var v = new LeView(buffer, "UDF Allocation Extent Descriptor", offset);
        UdfTag.Require(v, block, UdfTag.AllocationExtent);
        v.Require(v.U32(20) <= v.Length - Header, 20, "Length of Allocation Descriptors");
        return v.Field(Header, (int)v.U32(20));
    }

    private DiskFormatException Corrupt(string field) => new(Fault.Corrupt, Structure, _offset, $"bad {field}");
}

/// <summary>long_ad (ECMA-167, 4/14.14.2): length with the extent's type, block, partition.</summary>
internal readonly struct UdfLongAd
{
    public const int Size = 16;

    public readonly uint Length, Block;
    public readonly int Partition;

    public UdfLongAd(ReadOnlySpan<byte> bytes)
    {
        Length = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        Block = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        Partition = BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]);
    }

    /// <summary>It names a recorded extent.</summary>
    public bool IsThere => Length is > 0 and <= 0x3FFF_FFFF;
}
