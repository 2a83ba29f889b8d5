using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Space;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs;

/// <summary>
/// Logical addresses of data, each sector held against its checksum: what the first copy has wrong is read from the others, and what no copy
/// has right is a fault. Large reads go straight to where they are wanted.
/// </summary>
internal sealed class CheckedData(BtrfsVolume volume) : IBlockSource
{
    private const string Structure = "data extent";
    private const int WindowBytes = 1 << 20;
    private const int SmallBytes = 128 << 10;

    private readonly int _sectorBytes = volume.Super.SectorBytes;
    private readonly LogicalSpace _space = volume.Space;
    private long _mended;

    public long Length => _space.First.Length;

    /// <summary>Sectors that the first copy had wrong and another right.</summary>
    public long Mended => Interlocked.Read(ref _mended);

    /// <summary>A hole in the image is no proof of zeros: they are held against their checksum like everything else, so they count as stored.</summary>
    public StoredExtent Locate(long offset, long count)
    {
        StoredExtent extent = _space.First.Locate(offset, count);
        return extent.IsStored ? extent : new StoredExtent(ExtentKind.Data, extent.Length, -1, offset);
    }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, Structure);
        while (!destination.IsEmpty)
        {
            int within = (int)(offset % _sectorBytes);
            int count;
            if (within == 0 && destination.Length >= Math.Min(SmallBytes, WindowBytes))
            {
                count = Math.Min(destination.Length, WindowBytes) / _sectorBytes * _sectorBytes;
                ReadSectors(offset, destination[..count]);
            }
            else
            {
                // Sectors that are wanted in part are read whole.
                count = Math.Min(destination.Length, SmallBytes - within);
                int whole = (within + count + _sectorBytes - 1) / _sectorBytes * _sectorBytes;
                using RentedBuffer buffer = volume.Context.Budget.Rent(whole);
                ReadSectors(offset - within, buffer.Span);
                buffer.Span.Slice(within, count).CopyTo(destination);
            }

            offset += count;
            destination = destination[count..];
        }
    }

    public void Dispose()
    {
    }

    private void ReadSectors(long logical, Span<byte> data)
    {
        int count = data.Length / _sectorBytes;
        int sumBytes = volume.Sums.SumBytes;
        using RentedBuffer buffer = volume.Context.Budget.Rent(count * sumBytes);
        Span<bool> known = stackalloc bool[WindowBytes / 4096];
        known = known[..count];
        volume.Sums.Read(logical, known, buffer.Span);
        bool isRead = true;
        try
        {
            _space.Read(logical, data, 0);
        }
        catch (DiskFormatException)
        {
            isRead = false;
        }

        for (int i = 0; i < count;)
        {
            if (isRead && IsGood(data, i, known, buffer.Span, logical))
            {
                i++;
                continue;
            }

            int end = i + 1;
            while (end < count && !(isRead && IsGood(data, end, known, buffer.Span, logical)))
            {
                end++;
            }

            Mend(logical, data, i, end, known, buffer.Span, isRead ? 1 : 0);
            i = end;
        }
    }

    private bool IsGood(ReadOnlySpan<byte> data, int sector, ReadOnlySpan<bool> known, ReadOnlySpan<byte> sums, long logical)
    {
        if (!known[sector])
        {
            volume.Sums.ReportUnknown(logical + ((long)sector * _sectorBytes));
            return true;
        }

        return BtrfsChecksum.IsGood(volume.Super.CsumType, data.Slice(sector * _sectorBytes, _sectorBytes), sums[(sector * volume.Sums.SumBytes)..]);
    }

    private void Mend(long logical, Span<byte> data, int from, int end, ReadOnlySpan<bool> known, ReadOnlySpan<byte> sums, int firstAttempt)
    {
        while (from < end)
        {
            volume.Context.ThrowIfCancelled();
            long at = logical + ((long)from * _sectorBytes);
            int piece = (int)Math.Min(end - from, Math.Max(1, _space.PieceBytes(at) / _sectorBytes));
            MendPiece(logical, data, from, from + piece, known, sums, firstAttempt);
            from += piece;
        }
    }

    // One stripe at most: each way is tried for all of its bad sectors, and each sector is taken from the first way that has it right.
    private void MendPiece(long logical, Span<byte> data, int from, int end, ReadOnlySpan<bool> known, ReadOnlySpan<byte> sums, int firstAttempt)
    {
        long at = logical + ((long)from * _sectorBytes);
        int bytes = (end - from) * _sectorBytes;
        int attempts = _space.Attempts(at);
        using RentedBuffer buffer = volume.Context.Budget.Rent(bytes);
        Span<bool> done = stackalloc bool[WindowBytes / 4096];
        done = done[..(end - from)];
        done.Clear();
        DiskFormatException? fault = null;
        int left = end - from;
        for (int attempt = firstAttempt; attempt < attempts && left > 0; attempt++)
        {
            try
            {
                _space.Read(at, buffer.Span, attempt);
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
                continue;
            }

            for (int i = 0; i < done.Length; i++)
            {
                if (!done[i] && IsGood(buffer.Span, i, known[from..], sums[(from * volume.Sums.SumBytes)..], at))
                {
                    buffer.Span.Slice(i * _sectorBytes, _sectorBytes).CopyTo(data[((from + i) * _sectorBytes)..]);
                    done[i] = true;
                    left--;
                    if (attempt > 0)
                    {
                        Interlocked.Increment(ref _mended);
                    }
                }
            }
        }

        if (left > 0)
        {
            throw fault ?? new DiskFormatException(Fault.Corrupt, Structure, at + ((long)done.IndexOf(false) * _sectorBytes), "bad checksum of the data, and no copy has it right");
        }
    }
}

/// <summary>Logical addresses of data that has no checksums: the first copy that can be read.</summary>
internal sealed class PlainData(BtrfsVolume volume) : IBlockSource
{
    private readonly LogicalSpace _space = volume.Space;

    public long Length => _space.First.Length;

    public StoredExtent Locate(long offset, long count) => _space.First.Locate(offset, count);

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "data extent");
        try
        {
            _space.Read(offset, destination, 0);
            return;
        }
        catch (DiskFormatException)
        {
            // Piece by piece below.
        }

        while (!destination.IsEmpty)
        {
            int count = (int)Math.Min(destination.Length, _space.PieceBytes(offset));
            ReadPiece(offset, destination[..count]);
            offset += count;
            destination = destination[count..];
        }
    }

    public void Dispose()
    {
    }

    private void ReadPiece(long offset, Span<byte> piece)
    {
        DiskFormatException? fault = null;
        int attempts = _space.Attempts(offset);
        for (int attempt = 0; attempt < attempts; attempt++)
        {
            try
            {
                _space.Read(offset, piece, attempt);
                return;
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
            }
        }

        throw fault!;
    }
}
