using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Vss;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>NTFS, all versions since 1.2. Spec: Microsoft, "How NTFS Works" and the structures of "Master File Table".</summary>
public sealed class NtfsFormat : IFileSystemFormat, IVolumeSnapshots
{
    public string Name => "ntfs";

    public FormatSupport Support { get; } = new(
        "NTFS",
        "resident, fragmented, sparse, LZNT1 and WOF compressed files, files of Windows Server Data Deduplication from the chunk store, alternate data streams, hard links, attribute lists, orphans, $MFTMirr, volume shadow copies, deleted files",
        "EFS encrypted files, deduplicated files whose chunks are missing or that were written to since; a $LogFile that was not replayed");

    public bool Probe(IBlockSource volume)
    {
        Span<byte> sector = stackalloc byte[BootSector.Size];
        try
        {
            if (volume.Length < BootSector.Size)
            {
                return false;
            }

            volume.Read(0, sector);
            return BootSector.TryParse(sector, 0, out _, out _);
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    /// <summary>By the boot sector's copy at the volume's end, when the table it leads to is there.</summary>
    public bool ProbeCopy(IBlockSource volume) => TryBackup(volume, out _);

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        var notes = new List<string>();
        var volumes = new NtfsVolume(volume, ReadBoot(volume, notes), context);
        return new NtfsFileSystem(volumes, new MasterFileTable(volumes), notes);
    }

    public IReadOnlyList<VolumeSnapshot> Snapshots(IBlockSource volume, ReadContext context) => ShadowCopies.List(volume, context);

    public IBlockSource OpenSnapshot(IBlockSource volume, VolumeSnapshot snapshot, ReadContext context) => ShadowCopies.Open(volume, snapshot.Id, context);

    private static BootSector ReadBoot(IBlockSource volume, List<string> notes)
    {
        Span<byte> sector = stackalloc byte[BootSector.Size];
        DiskFormatException? fault;
        try
        {
            volume.Read(0, sector);
            if (BootSector.TryParse(sector, 0, out BootSector boot, out fault))
            {
                return boot;
            }
        }
        catch (DiskFormatException e)
        {
            fault = e;
        }

        if (!TryBackup(volume, out BootSector backup))
        {
            throw fault!;
        }

        notes.Add($"boot sector is damaged ({fault!.Detail}); its copy at {backup.BackupOffset} was used");
        return backup;
    }

    /// <summary>
    /// The copy is the volume's last sector. It outlives a new file system on the volume, so it counts only when it was made
    /// for a volume of this length and its $MFT begins with a whole FILE record.
    /// </summary>
    private static bool TryBackup(IBlockSource volume, out BootSector boot)
    {
        Span<byte> sector = stackalloc byte[BootSector.Size];
        boot = default;
        for (int sectorBytes = 256; sectorBytes <= 4096; sectorBytes *= 2)
        {
            // A partition may be longer than the sectors counted by less than one cluster; the copy is then still its last sector.
            long offset = volume.Length - (volume.Length % sectorBytes) - sectorBytes;
            if (offset <= 0 || offset > volume.Length - BootSector.Size)
            {
                continue;
            }

            try
            {
                volume.Read(offset, sector);
                if (BootSector.TryParse(sector, offset, out boot, out _) && boot.BytesPerSector == sectorBytes
                    && boot.BackupOffset <= offset && BeginsWithRecord(volume, boot))
                {
                    return true;
                }
            }
            catch (DiskFormatException)
            {
                // This sector cannot be read.
            }
        }

        return false;
    }

    private static bool BeginsWithRecord(IBlockSource volume, BootSector boot)
    {
        Span<byte> signature = stackalloc byte[4];
        volume.Read(boot.MftLcn * boot.ClusterBytes, signature);
        return signature.SequenceEqual(FileRecord.Signature);
    }
}
