using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>exFAT. Spec: Microsoft "exFAT file system specification", revision 1.00.</summary>
public sealed class ExFatFormat : IFileSystemFormat
{
    public string Name => "exfat";

    public FormatSupport Support { get; } = new(
        "exFAT",
        "contiguous and chained files, valid data length, both boot regions, TexFAT's second table");

    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return volume.HasAt(3, "EXFAT   "u8);
    }

    /// <summary>By a backup boot region whose checksum is right.</summary>
    public bool ProbeCopy(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return TryBackup(volume, out _, out _);
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        return new ExFatFileSystem(volume, ReadBoot(volume, context), context);
    }

    private static ExFatBootSector ReadBoot(IBlockSource volume, ReadContext context)
    {
        ExFatBootSector boot = default;
        DiskFormatException fault;
        bool isParsed = false;
        try
        {
            boot = ReadSector(volume, 0);
            isParsed = true;
            if (HasRightChecksum(volume, 0, boot.SectorBytes))
            {
                return boot;
            }

            fault = new DiskFormatException(Fault.Corrupt, ExFatBootSector.Structure, 11L * boot.SectorBytes, "bad boot checksum");
        }
        catch (DiskFormatException e)
        {
            fault = e;
        }

        string used = "it was read all the same";
        if (TryBackup(volume, out ExFatBootSector backup, out long offset))
        {
            boot = backup;
            used = $"the copy at {offset} was used";
        }
        else if (!isParsed)
        {
            throw fault;
        }

        context.Gaps.Add(new CoverageGap(fault.Fault, "", fault.Structure, fault.Offset, 0, $"{fault.Detail}; {used}"));
        return boot;
    }

    // The backup region follows the main one (section 2.1), so where it lies depends on the sector size.
    private static bool TryBackup(IBlockSource volume, out ExFatBootSector boot, out long offset)
    {
        boot = default;
        offset = 0;
        for (int sectorBytes = 512; sectorBytes <= 4096; sectorBytes *= 2)
        {
            offset = ExFatBootSector.RegionSectors * sectorBytes;
            if (!volume.HasAt(offset + 3, "EXFAT   "u8))
            {
                continue;
            }

            try
            {
                boot = ReadSector(volume, offset);
                if (boot.SectorBytes == sectorBytes && HasRightChecksum(volume, offset, sectorBytes))
                {
                    return true;
                }
            }
            catch (DiskFormatException)
            {
                // This copy cannot be read either.
            }
        }

        return false;
    }

    private static ExFatBootSector ReadSector(IBlockSource volume, long offset)
    {
        Span<byte> sector = stackalloc byte[ExFatBootSector.Size];
        volume.Read(offset, sector);
        return new ExFatBootSector(new LeView(sector, ExFatBootSector.Structure, offset));
    }

    private static bool HasRightChecksum(IBlockSource volume, long offset, int sectorBytes)
    {
        byte[] region = new byte[ExFatBootSector.RegionSectors * sectorBytes];
        volume.Read(offset, region);
        int summed = (ExFatBootSector.RegionSectors - 1) * sectorBytes;
        return ExFatBootSector.Checksum(region.AsSpan(0, summed)) == BinaryPrimitives.ReadUInt32LittleEndian(region.AsSpan(summed));
    }
}
