using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// The content of a deleted file, as far as its clusters are still free. One that is in use holds another file's bytes by now, and one of
/// which that cannot be told may: both are faults, never content.
/// </summary>
internal sealed class DeletedContent : IBlockSource
{
    private readonly IBlockSource _content;
    private readonly RunMap _runs;
    private readonly NtfsVolume _volume;
    private readonly PageCache _bitmap;
    private readonly IBlockSource _bits;

    // Units that are unpacked as a whole can only be read when all of their clusters are free; so is all of the file then.
    private readonly bool _isPacked;

    private DeletedContent(NtfsVolume volume, IBlockSource content, RunMap runs, IBlockSource bits, bool isPacked)
    {
        _volume = volume;
        _content = content;
        _runs = runs;
        _bits = bits;
        _isPacked = isPacked;
        _bitmap = new PageCache(bits, volume.Context, pages: 4);
    }

    public long Length => _content.Length;

    public static IBlockSource Open(NtfsVolume volume, MasterFileTable table, NtfsFile file)
    {
        switch (file.Layout)
        {
            case LinkTarget target:
                return new MemorySource(target.Bytes);
            case null when file.SizeBytes == 0:
                return new MemorySource(ReadOnlyMemory<byte>.Empty);
            case null:
                return new ResidentSource(volume, table, (long)file.Id, file.ValuePosition, (int)file.SizeBytes, isDeleted: true);
        }

        IBlockSource content = file.Layout is byte[] pairs
            ? volume.Open(RunMap.Of(volume, pairs, file.SizeBytes))
            : NtfsContent.Open(volume, table, (StreamLayout)file.Layout, file.SizeBytes, isDeleted: true);
        if (file.Layout is StreamLayout { ResidentRecord: >= 0 })
        {
            return content;
        }

        DeletedContent? deleted = null;
        IBlockSource? bits = null;
        try
        {
            RunMap runs = file.Layout is byte[] simple ? RunMap.Of(volume, simple, file.SizeBytes) : RunMap.Of(volume, (StreamLayout)file.Layout);
            bits = NtfsFileSystem.ClusterBitmap(volume, table)
                ?? throw new DiskFormatException(Fault.Corrupt, "$Bitmap", -1, "it cannot be told which clusters of a deleted file are still free");
            deleted = new DeletedContent(volume, content, runs, bits, file.Layout is StreamLayout layout && (layout.CompressionUnitShift > 0 || layout.Wof is not null));
            if (deleted._isPacked)
            {
                deleted.RequireFree(0, runs.NextVcn);
            }

            return deleted;
        }
        catch
        {
            if (deleted is null)
            {
                bits?.Dispose();
                content.Dispose();
            }

            deleted?.Dispose();
            throw;
        }
    }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "deleted file");
        if (!_isPacked && !destination.IsEmpty)
        {
            RequireFree(offset / _volume.ClusterBytes, _volume.ClustersFor(Math.Min(offset + destination.Length, _runs.ValidDataLength)));
        }

        _content.Read(offset, destination);
    }

    public StoredExtent Locate(long offset, long count) => _content.Locate(offset, count);

    public void Dispose()
    {
        _bitmap.Dispose();
        _bits.Dispose();
        _content.Dispose();
    }

    /// <summary>Throws when a cluster from one VCN to before another is in use.</summary>
    private void RequireFree(long vcn, long end)
    {
        Span<byte> bytes = stackalloc byte[512];
        while (vcn < end)
        {
            (long lcn, long clusters) = _runs.At(vcn);
            clusters = Math.Min(clusters, end - vcn);
            if (lcn != MappingPairs.HoleLcn)
            {
                clusters = Math.Min(clusters, (bytes.Length * 8) - (lcn % 8));
                int first = (int)(lcn % 8);
                int count = (int)((first + clusters + 7) / 8);
                Bounds.Check(lcn / 8, count, _bitmap.Length, "$Bitmap");
                _bitmap.Read(lcn / 8, bytes[..count]);
                for (int i = first; i < first + clusters; i++)
                {
                    if ((bytes[i / 8] >> (i % 8) & 1) != 0)
                    {
                        throw new DiskFormatException(Fault.Corrupt, "deleted file", (lcn - first + i) * _volume.ClusterBytes, $"from byte {(vcn + i - first) * _volume.ClusterBytes} on its clusters are in use by something else");
                    }
                }
            }

            vcn += clusters;
        }
    }
}
