using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>Finds a sound descriptor sequence and makes the partitions that its logical volume maps.</summary>
internal static class UdfOpening
{
    private const int MapTableAt = 440;

    /// <exception cref="DiskFormatException">No sequence is whole, or the volume has parts of an unknown kind.</exception>
    public static (UdfVolume Volume, UdfDescriptors Descriptors) Open(IBlockSource source, ReadContext context)
    {
        (UdfDescriptors sequence, int blockBytes) = Sequence(source, context);
        LeView logical = sequence.Logical;
        logical.Require(logical.U32(212) == blockBytes, 212, "Logical Block Size: it is not that of the anchor");
        var volume = new UdfVolume(source, blockBytes, context);
        try
        {
            AddPartitions(volume, sequence, logical);
            return (volume, sequence);
        }
        catch
        {
            volume.Dispose();
            throw;
        }
    }

    private static (UdfDescriptors Sequence, int BlockBytes) Sequence(IBlockSource source, ReadContext context)
    {
        DiskFormatException fault = new(Fault.Corrupt, "UDF Anchor Volume Descriptor Pointer", -1, "no sound anchor was found");
        foreach (UdfAnchor anchor in UdfAnchor.Find(source))
        {
            UdfDescriptors main = UdfDescriptors.Read(source, anchor.BlockBytes, anchor.MainBytes, anchor.MainBlock);
            if (main is { IsWhole: true, IsDamaged: false })
            {
                return (main, anchor.BlockBytes);
            }

            fault = new DiskFormatException(Fault.Corrupt, UdfDescriptors.Structure, anchor.MainBlock * (long)anchor.BlockBytes, "it is damaged or not whole");
            UdfDescriptors reserve = UdfDescriptors.Read(source, anchor.BlockBytes, anchor.ReserveBytes, anchor.ReserveBlock);
            if (reserve.IsWhole || main.IsWhole)
            {
                context.Gaps.Add(new CoverageGap(fault, "", 0) { Detail = reserve.IsWhole ? $"{fault.Detail}; the reserve sequence was used" : $"{fault.Detail}; what is left of it was used" });
                return (reserve.IsWhole ? reserve : main, anchor.BlockBytes);
            }
        }

        throw fault;
    }

    private static void AddPartitions(UdfVolume volume, UdfDescriptors sequence, LeView logical)
    {
        uint tableBytes = logical.U32(264);
        uint count = logical.U32(268);
        logical.Require(tableBytes <= logical.Length - MapTableAt, 264, "Map Table Length");
        LeView table = logical.Inner(MapTableAt, (int)tableBytes, "UDF partition maps");
        int at = 0;
        for (uint i = 0; i < count; i++)
        {
            int length = table.U8(at + 1);
            table.Require(length >= 6, at + 1, "Partition Map Length");
            LeView map = table.Inner(at, length, "UDF partition map");
            volume.Partitions.Add(map.U8(0) switch
            {
                1 => Plain(sequence, map, map.U16(4)),
                2 when length == 64 => Special(volume, sequence, map),
                _ => throw map.Unsupported(0, $"Partition Map Type {map.U8(0)}"),
            });
            at += length;
        }
    }

    private static UdfPlainPartition Plain(UdfDescriptors sequence, LeView map, int number) =>
        sequence.Partition(number) is { } partition
            ? new UdfPlainPartition(partition.Start, partition.Blocks)
            : throw map.Corrupt(4, $"Partition Number {number}: it has no descriptor");

    // UDF 2.60, 2.2.8 to 2.2.10: the identifier says of which kind the map is.
    private static UdfPartition Special(UdfVolume volume, UdfDescriptors sequence, LeView map)
    {
        UdfPlainPartition plain = Plain(sequence, map, map.U16(38));
        ReadOnlySpan<byte> identifier = map.Field(5, 23);
        if (identifier.StartsWith("*UDF Virtual Partition"u8))
        {
            return new UdfVirtualPartition(plain, ReadVat(volume, map, plain));
        }

        if (identifier.StartsWith("*UDF Sparable Partition"u8))
        {
            uint packet = map.U16(40);
            map.Require(packet > 0, 40, "Packet Length");
            return new UdfSparablePartition(plain, packet, UdfSparing.Read(volume.Source, volume.BlockBytes, map) ?? throw map.Corrupt(44, "sparing tables: none is sound"));
        }

        return identifier.StartsWith("*UDF Metadata Partition"u8)
            ? new UdfMetadataPartition(MetadataFile(volume, map), volume.BlockBytes)
            : throw map.Unsupported(5, "Partition Type Identifier");
    }

    // The metadata file, or its mirror, is found in the partition of the same number that came before.
    private static FilePiece[] MetadataFile(UdfVolume volume, LeView map)
    {
        if (volume.Partitions.Count == 0)
        {
            throw map.Corrupt(5, "Partition Type Identifier: no partition for the metadata file");
        }

        DiskFormatException? fault = null;
        foreach (int field in (ReadOnlySpan<int>)[40, 44])
        {
            try
            {
                byte[] block = new byte[volume.BlockBytes];
                var entry = new UdfFileEntry(volume, map.U32(field), 0, block);
                map.Require(entry.FileType is UdfFileEntry.TypeMetadata or UdfFileEntry.TypeMetadataMirror, field, "Metadata File Location: another file is there");
                FilePiece[] extents = entry.Extents(volume, block);
                if (fault is not null)
                {
                    volume.Context.Gaps.Add(new CoverageGap(fault, "", 0) { Detail = $"{fault.Detail}; the metadata mirror was used" });
                }

                return extents;
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
            }
        }

        throw fault!;
    }

    // Virtual Allocation Table (UDF 2.60, 2.2.11; 1.50 has it without a header and with a trailer). Its entry is the last block written.
    private static uint[] ReadVat(UdfVolume volume, LeView map, UdfPlainPartition plain)
    {
        const int BlocksToLookAt = 32;
        const int MostBytes = 64 << 20;
        (long start, _) = plain.Map(0);
        long last = (volume.Source.Length / volume.BlockBytes) - 1;
        byte[] block = new byte[volume.BlockBytes];
        volume.Partitions.Add(plain);
        try
        {
            int partition = volume.Partitions.Count - 1;
            for (long at = last; at > last - BlocksToLookAt && at >= start; at--)
            {
                try
                {
                    var entry = new UdfFileEntry(volume, (uint)(at - start), partition, block);
                    if (entry.FileType is not (0 or TypeVat))
                    {
                        continue;
                    }

                    FilePiece[] extents = entry.Extents(volume, block);
                    if (entry.InformationLength is < TrailerBytes or > MostBytes)
                    {
                        continue;
                    }

                    using RentedBuffer bytes = volume.Context.Budget.Rent((int)entry.InformationLength);
                    new MappedSource(new FilePieceMap(extents, entry.InformationLength, volume.Source.Length, "UDF VAT"), [volume.Source]).Read(0, bytes.Span);
                    if (Table(bytes.Span, entry.FileType) is { } table)
                    {
                        return table;
                    }
                }
                catch (DiskFormatException e) when (e.Fault != Fault.Limit)
                {
                    // Not a sound entry: the one before may be.
                }
            }
        }
        finally
        {
            volume.Partitions.RemoveAt(volume.Partitions.Count - 1);
        }

        throw map.Corrupt(5, "virtual partition: its allocation table was not found");
    }

    private const int TypeVat = 248;
    private const int TrailerBytes = 36;

    private static uint[]? Table(ReadOnlySpan<byte> bytes, int fileType)
    {
        int header = 0;
        int end = bytes.Length;
        if (fileType == TypeVat)
        {
            header = BinaryPrimitives.ReadUInt16LittleEndian(bytes);
        }
        else if (bytes[(bytes.Length - TrailerBytes + 1)..].StartsWith("*UDF Virtual Alloc Tbl"u8))
        {
            end -= TrailerBytes;
        }
        else
        {
            return null;
        }

        if (header > end)
        {
            return null;
        }

        uint[] table = new uint[(end - header) / 4];
        for (int i = 0; i < table.Length; i++)
        {
            table[i] = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(header + (4 * i))..]);
        }

        return table;
    }
}
