using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>
/// RAID10. md(4), "RAID10": <i>near</i> copies of a chunk lie side by side in a row of the members; <i>far</i> copies of all rows lie
/// together in a further section of each member, shifted by the number of near copies; <i>offset</i> copies lie as far ones do,
/// but right in the next row. Members may be divided into far sets, and the shift then goes round within a set; members left over
/// belong to the last.
/// </summary>
internal sealed class CopyMap : IExtentMap
{
    private const int OffsetBit = 1 << 16;

    private readonly DistrustMap _distrust;
    private readonly int _disks, _near, _far, _setSize, _lastSetStart;
    private readonly bool _isOffset;
    private readonly long _chunk, _stride;

    public CopyMap(RaidGeometry geometry, DistrustMap distrust)
    {
        (_, int layout, _chunk, _disks, long deviceBytes) = geometry;
        _distrust = distrust;
        _near = layout & 0xFF;
        _far = (layout >> 8) & 0xFF;
        _isOffset = (layout & OffsetBit) != 0;
        int sets = layout >> 17;
        int copies = _near * _far;
        if (sets is < 0 or > 2 || copies < 2 || copies > _disks)
        {
            throw new DiskFormatException(Fault.Unsupported, "RAID geometry", -1, $"RAID10 layout {layout} over {_disks} members");
        }

        // 1: the first form, which the kernel keeps but warns of; 2: as the manual has it.
        _setSize = sets switch
        {
            1 => _disks / _far,
            2 => copies,
            _ => _disks,
        };
        _lastSetStart = ((_disks / _setSize) - 1) * _setSize;

        long rows = deviceBytes / _chunk / _far;
        long chunks = rows * _disks / _near;
        Length = chunks * _chunk;
        long used = ((chunks * copies) + _disks - 1) / _disks;
        _stride = _isOffset ? _chunk : used / _far * _chunk;
        RequireCopies(chunks);
    }

    public long Length { get; }

    public Extent Map(long offset, long count)
    {
        long chunk = Math.DivRem(offset, _chunk, out long within);
        long most = Math.Min(count, _chunk - within);
        for (int copy = 0; copy < _near * _far; copy++)
        {
            (int device, long start) = Copy(chunk, copy);
            long length = most;
            if (_distrust.IsSound(device, start + within, ref length))
            {
                return new Extent(ExtentKind.Data, length, start + within, device);
            }
        }

        throw new DiskFormatException(Fault.Corrupt, "RAID members", offset, "no copy of the chunk is sound");
    }

    private (int Device, long Start) Copy(long chunk, int copy)
    {
        int near = copy % _near;
        int far = copy / _near;
        long row = Math.DivRem(chunk * _near, _disks, out long first);
        long start = row * (_isOffset ? _far : 1) * _chunk;
        int device = (int)first + near;
        if (device >= _disks)
        {
            device -= _disks;
            start += _chunk;
        }

        for (int i = 0; i < far; i++)
        {
            device = Shifted(device);
        }

        return (device, start + (far * _stride));
    }

    private int Shifted(int device)
    {
        int set = device / _setSize;
        int shifted = device + _near;

        // A set that is not whole adds to the one before it.
        if (_disks % _setSize != 0 && shifted > _lastSetStart)
        {
            return ((shifted - _lastSetStart) % (_disks - _lastSetStart)) + _lastSetStart;
        }

        return (shifted % _setSize) + (set * _setSize);
    }

    // Which members hold a chunk repeats after as many chunks as there are members.
    private void RequireCopies(long chunks)
    {
        if (_distrust.Missing.Count == 0)
        {
            return;
        }

        for (long chunk = 0; chunk < Math.Min(chunks, _disks); chunk++)
        {
            bool isThere = false;
            for (int copy = 0; copy < _near * _far && !isThere; copy++)
            {
                isThere = !_distrust.IsMissing(Copy(chunk, copy).Device);
            }

            if (!isThere)
            {
                throw RaidSource.TooFew(_distrust.Missing, _disks);
            }
        }
    }
}
