using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Ldm;

/// <summary>
/// PRIVHEAD. Spec: Russon "LDM Documentation", "PRIVHEAD". Big-endian, 512 bytes; starts and sizes are in sectors of the disk.
/// </summary>
internal sealed record PrivateHeader
{
    public const int Size = 512;
    private const string Structure = "PRIVHEAD";

    /// <summary>The private region is 1 MiB; where it is more it is not one.</summary>
    private const long MostConfigSectors = 1 << 15;

    public PrivateHeader(BeView v, IBlockSource disk, int sectorBytes)
    {
        v.Require(v.Field(0, 8).SequenceEqual("PRIVHEAD"u8), 0, "magic");
        v.Require(v.U16(0x0C) == 2, 0x0C, "major version");
        SectorBytes = sectorBytes;
        v.Require(Guid.TryParse(Text(v.Field(0x30, 64)), out Guid diskId), 0x30, "disk id");
        v.Require(Guid.TryParse(Text(v.Field(0xB0, 64)), out Guid groupId), 0xB0, "disk group id");
        DiskId = diskId;
        GroupId = groupId;
        long sectors = disk.Length / sectorBytes;
        ulong start = v.U64(0x11B);
        ulong size = v.U64(0x123);
        ulong configStart = v.U64(0x12B);
        ulong configSize = v.U64(0x133);
        v.Require(start <= (ulong)sectors && size <= (ulong)sectors - start, 0x11B, "logical disk");
        v.Require(configStart < (ulong)sectors && configSize <= (ulong)sectors - configStart, 0x12B, "configuration");
        v.Require(configSize is > 2 and <= MostConfigSectors, 0x133, "configuration size");
        DataStart = (long)start * sectorBytes;
        DataBytes = (long)size * sectorBytes;
        ConfigStart = (long)configStart * sectorBytes;
        ConfigBytes = (long)configSize * sectorBytes;
    }

    public Guid DiskId { get; }

    public Guid GroupId { get; }

    public int SectorBytes { get; }

    /// <summary>Where sector 0 of the partitions is.</summary>
    public long DataStart { get; }

    public long DataBytes { get; }

    public long ConfigStart { get; }

    public long ConfigBytes { get; }

    /// <summary>Places where a copy may lie, by byte, with the sector size each means.</summary>
    public static IEnumerable<(long Offset, int SectorBytes)> Places(IBlockSource disk)
    {
        foreach (int sector in (int[])[512, 4096])
        {
            long sectors = disk.Length / sector;
            if (LdmTable.HasDynamicMbr(disk))
            {
                yield return (6L * sector, sector);
                yield return ((sectors - 1) * sector, sector);
                yield return ((sectors - 192) * sector, sector);
            }
            else if (LdmTable.FindMetadata(disk, sector) is { } metadata)
            {
                // The private region as on a disk with an MBR, there at its end.
                yield return (metadata.Last * sector, sector);
                yield return ((metadata.First + 1856) * sector, sector);
            }
        }
    }

    public static bool IsOn(IBlockSource disk) => Places(disk).Any(p => p.Offset >= 0 && disk.HasAt(p.Offset, "PRIVHEAD"u8));

    /// <summary>The first sound copy; for others a gap.</summary>
    /// <exception cref="DiskFormatException">No copy is sound.</exception>
    public static PrivateHeader Read(VolumeMember member, ReadContext context)
    {
        DiskFormatException? fault = null;
        Span<byte> bytes = stackalloc byte[Size];
        foreach ((long offset, int sectorBytes) in Places(member.Content))
        {
            if (offset < 0 || !member.Content.TryRead(offset, bytes) || !bytes.StartsWith("PRIVHEAD"u8))
            {
                continue;
            }

            try
            {
                PrivateHeader header = new(new BeView(bytes, Structure, offset), member.Content, sectorBytes);
                if (fault is not null)
                {
                    context.Gaps.Add(new CoverageGap(fault, member.Name, 0));
                }

                return header;
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
            }
        }

        throw fault ?? new DiskFormatException(Fault.Corrupt, Structure, -1, "none is to be found");
    }

    public static string Text(ReadOnlySpan<byte> field) => Encoding.UTF8.GetString(field.IndexOf((byte)0) is >= 0 and var end ? field[..end] : field);
}

/// <summary>What partition tables say of dynamic disks.</summary>
internal static class LdmTable
{
    private const byte DynamicType = 0x42;
    private const int MostEntries = 1024;

    public static readonly Guid Metadata = new("5808C8AA-7E8F-42E0-85D2-E1E90434CFB3");
    public static readonly Guid Data = new("AF9B60A0-1431-4F62-BC68-3311714A69AD");

    /// <summary>True when a partition of the MBR is of the type of dynamic disks.</summary>
    public static bool HasDynamicMbr(IBlockSource disk)
    {
        Span<byte> sector = stackalloc byte[512];
        return disk.TryRead(0, sector) && sector[510] == 0x55 && sector[511] == 0xAA
            && (sector[450] == DynamicType || sector[466] == DynamicType || sector[482] == DynamicType || sector[498] == DynamicType);
    }

    /// <summary>First and last sector of the LDM metadata partition of a GPT. UEFI 2.10, section 5.3.</summary>
    public static (long First, long Last)? FindMetadata(IBlockSource disk, int sectorBytes)
    {
        long sectors = disk.Length / sectorBytes;
        Span<byte> header = stackalloc byte[92];
        Span<byte> entry = stackalloc byte[48];
        foreach (long lba in (ReadOnlySpan<long>)[1, sectors - 1])
        {
            if (lba <= 0 || !disk.TryRead(lba * sectorBytes, header) || !header.StartsWith("EFI PART"u8))
            {
                continue;
            }

            ulong entries = BinaryPrimitives.ReadUInt64LittleEndian(header[72..]);
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(header[80..]);
            uint size = BinaryPrimitives.ReadUInt32LittleEndian(header[84..]);
            if (entries >= (ulong)sectors || count > MostEntries || size is < 128 or > 4096)
            {
                continue;
            }

            for (long i = 0; i < count; i++)
            {
                if (!disk.TryRead(((long)entries * sectorBytes) + (i * size), entry))
                {
                    break;
                }

                ulong first = BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]);
                ulong last = BinaryPrimitives.ReadUInt64LittleEndian(entry[40..]);
                if (new Guid(entry[..16]) == Metadata && first <= last && last < (ulong)sectors)
                {
                    return ((long)first, (long)last);
                }
            }
        }

        return null;
    }
}
