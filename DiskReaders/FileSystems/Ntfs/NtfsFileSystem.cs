using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>An opened NTFS volume.</summary>
public sealed class NtfsFileSystem : IFileSystem
{
    private const long VolumeRecord = 3;
    private const long LogFileRecord = 2;
    private const long BitmapRecord = 6;
    private const long SecureRecord = 9;

    /// <summary>VOLUME_INFORMATION, Flags: VOLUME_IS_DIRTY.</summary>
    private const ushort VolumeIsDirty = 1;

    private readonly NtfsVolume _volume;
    private readonly MasterFileTable _table;
    private readonly Lazy<Dictionary<uint, string>> _owners;
    private readonly Lazy<ChunkContainers> _containersOfOwnWalk;
    private volatile ChunkContainers? _containersOfWalk;

    internal NtfsFileSystem(NtfsVolume volume, MasterFileTable table, List<string> notes)
    {
        _volume = volume;
        _table = table;
        _owners = new Lazy<Dictionary<uint, string>>(ReadOwners);
        _containersOfOwnWalk = new Lazy<ChunkContainers>(FindContainers);
        string label = "";
        if (table.MirrorUsed)
        {
            notes.Add("$MFT record 0 is damaged; its copy in $MFTMirr was used");
        }

        Attempt("$Volume", () => label = ReadVolume(notes));
        Attempt("$LogFile", () => ReadLogFile(notes));
        BootSector boot = volume.Boot;
        if (boot.BackupOffset > volume.Bytes.Length)
        {
            volume.Context.Gaps.Add(new CoverageGap(Fault.Truncated, "", "NTFS boot sector", 0, boot.BackupOffset - volume.Bytes.Length, $"the file system has {boot.BackupOffset} bytes, the volume {volume.Bytes.Length}"));
        }

        Facts = new FileSystemFacts(
            "ntfs",
            label,
            boot.SerialNumber.ToString("X16", CultureInfo.InvariantCulture),
            boot.ClusterBytes,
            boot.BackupOffset + boot.BytesPerSector,
            notes);
    }

    public FileSystemFacts Facts { get; }

    /// <summary>What a walk has met of chunk stores; where none has come to its end yet, one of its own.</summary>
    internal ChunkContainers Containers => _containersOfWalk ?? _containersOfOwnWalk.Value;

    public IEnumerable<GuestFile> Walk()
    {
        using var walk = new NtfsWalk(this, _volume, _table);
        var containers = new ChunkContainers();
        foreach (GuestFile file in walk.Files())
        {
            containers.Learn((NtfsFile)file);
            yield return file;
        }

        _containersOfWalk = containers;
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not NtfsFile ntfs || ntfs.FileSystem != this)
        {
            throw new ArgumentException("not a file of this volume", nameof(file));
        }

        if (ntfs.Fault is not null)
        {
            throw ntfs.Fault;
        }

        if (ntfs.Layout is DedupReparse dedup)
        {
            return DedupMap.Open(this, _volume.Context, dedup);
        }

        if (ntfs.IsDeleted)
        {
            return DeletedContent.Open(_volume, _table, ntfs);
        }

        return ntfs.Layout switch
        {
            byte[] pairs => _volume.Open(RunMap.Of(_volume, pairs, ntfs.SizeBytes)),
            StreamLayout layout => NtfsContent.Open(_volume, _table, layout, ntfs.SizeBytes),
            LinkTarget target => new MemorySource(target.Bytes),
            _ when ntfs.SizeBytes == 0 => new MemorySource(ReadOnlyMemory<byte>.Empty),
            _ => new ResidentSource(_volume, _table, (long)ntfs.Id, ntfs.ValuePosition, (int)ntfs.SizeBytes),
        };
    }

    public void Dispose()
    {
        // The volume belongs to who opened it, and nothing is kept beyond a walk or an opened content.
    }

    internal string OwnerOf(uint securityId) =>
        securityId == 0 ? "" : _owners.Value.GetValueOrDefault(securityId, "");

    private void Attempt(string structure, Action read)
    {
        try
        {
            read();
        }
        catch (DiskFormatException e)
        {
            _volume.Context.Gaps.Add(new CoverageGap(e, structure, 0));
        }
    }

    /// <summary>The volume's own <c>$Bitmap</c>: a bit for each cluster, set when it is in use. Null when it cannot be told.</summary>
    internal static IBlockSource? ClusterBitmap(NtfsVolume volume, MasterFileTable table)
    {
        AssembledStream? bitmap = Assemble(volume, table, BitmapRecord)?.Find(AttributeType.Data, default);
        return bitmap is null || bitmap.Fault is not null || bitmap.IsCompressed ? null : NtfsContent.Open(volume, table, NtfsContent.LayoutOf(bitmap), 0);
    }

    private ChunkContainers FindContainers()
    {
        // The walk that lists the files reports what is damaged.
        var quiet = new NtfsVolume(_volume.Bytes, _volume.Boot, _volume.Context with { Gaps = new NoGaps(), IncludeDeleted = false });
        using var walk = new NtfsWalk(this, quiet, _table);
        var containers = new ChunkContainers();
        foreach (GuestFile file in walk.Files())
        {
            containers.Learn((NtfsFile)file);
        }

        return containers;
    }

    private AssembledFile? Assemble(long number) => Assemble(_volume, _table, number);

    private static AssembledFile? Assemble(NtfsVolume volume, MasterFileTable table, long number)
    {
        using RentedBuffer record = volume.Context.Budget.Rent(volume.RecordBytes);
        if (table.Load(number, record.Span) != RecordState.InUse)
        {
            return null;
        }

        using var assembler = new FileAssembler(volume, table);
        assembler.Assemble(record.Span, number);
        return assembler.File.Damage is null ? assembler.File : throw assembler.File.Damage;
    }

    private string ReadVolume(List<string> notes)
    {
        string label = "";
        using RentedBuffer buffer = _volume.Context.Budget.Rent(_volume.RecordBytes);
        if (_table.Load(VolumeRecord, buffer.Span) != RecordState.InUse)
        {
            return label;
        }

        foreach (NtfsAttribute attribute in new FileRecord(buffer.Span, _table.OffsetOf(VolumeRecord)).Attributes)
        {
            switch (attribute.Type)
            {
                case AttributeType.VolumeName:
                    LeView name = attribute.Value("VOLUME_NAME");
                    label = Utf16Name.ToText(name.Bytes);
                    break;
                case AttributeType.VolumeInformation:
                    LeView information = attribute.Value("VOLUME_INFORMATION");
                    notes.Add($"version {information.U8(8)}.{information.U8(9)}");
                    if ((information.U16(10) & VolumeIsDirty) != 0)
                    {
                        notes.Add("marked dirty: the guest will check it");
                    }

                    break;
            }
        }

        return label;
    }

    private void ReadLogFile(List<string> notes)
    {
        AssembledStream? log = Assemble(LogFileRecord)?.Find(AttributeType.Data, default);
        if (log is null || log.FileSize == 0 || log.IsResident)
        {
            return;
        }

        using IBlockSource source = NtfsContent.Open(_volume, _table, NtfsContent.LayoutOf(log), 0);
        if (LogFileState.HasUnflushedRecords(source, _volume.Context))
        {
            notes.Add("$LogFile is not clean: the volume was not unmounted");
            _volume.Context.Gaps.Add(new CoverageGap(Fault.Unsupported, "$LogFile", "$LogFile", log.FirstLcn * _volume.ClusterBytes, 0, "the volume was not unmounted; the log is not replayed, so the newest changes of names and sizes may be missing"));
        }
    }

    private Dictionary<uint, string> ReadOwners()
    {
        try
        {
            AssembledStream? sds = Assemble(SecureRecord)?.Find(AttributeType.Data, "$SDS"u8);
            if (sds is null || sds.Fault is not null || sds.IsCompressed)
            {
                return [];
            }

            using IBlockSource source = NtfsContent.Open(_volume, _table, NtfsContent.LayoutOf(sds), 0);
            return SecurityDescriptors.Owners(source, _volume.Context);
        }
        catch (DiskFormatException e)
        {
            // Owners only describe files: their content is scanned without.
            _volume.Context.Gaps.Add(new CoverageGap(e, "$Secure:$SDS", 0));
            return [];
        }
    }

    private sealed class NoGaps : IGapSink
    {
        public void Add(CoverageGap gap)
        {
        }
    }
}
