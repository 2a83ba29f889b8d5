using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>FAT12, FAT16 and FAT32.</summary>
public sealed class FatFormat : IFileSystemFormat
{
    public string Name => "fat";

    public FormatSupport Support { get; } = new(
        "FAT12, FAT16, FAT32",
        "long names, both tables");

    /// <summary>A sound parameter block, and either the boot signature or a table whose first entry repeats the media byte.</summary>
    public bool Probe(IBlockSource volume)
    {
        try
        {
            FatBootSector boot = ReadBoot(volume);
            if (boot.HasSignature)
            {
                return true;
            }

            Span<byte> entry = stackalloc byte[2];
            volume.Read(boot.FatOffset(0), entry);
            return entry[0] == boot.Media && entry[1] == 0xFF;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context) => new FatFileSystem(volume, ReadBoot(volume), context);

    private static FatBootSector ReadBoot(IBlockSource volume)
    {
        Span<byte> sector = stackalloc byte[FatBootSector.Size];
        volume.Read(0, sector);
        return new FatBootSector(new LeView(sector, FatBootSector.Structure, 0));
    }
}
