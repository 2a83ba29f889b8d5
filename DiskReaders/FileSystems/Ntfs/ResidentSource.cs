using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>A resident value: a copy of it, as the bytes in the record are not all its own (update sequence).</summary>
internal sealed class ResidentSource : IBlockSource
{
    private readonly MasterFileTable _table;
    private readonly long _number;
    private readonly int _position;
    private readonly RentedBuffer _value;

    public ResidentSource(NtfsVolume volume, MasterFileTable table, long number, int position, int length, bool isDeleted = false)
    {
        _table = table;
        _number = number;
        _position = position;
        using RentedBuffer record = volume.Context.Budget.Rent(volume.RecordBytes);
        if (table.Load(number, record.Span) != (isDeleted ? RecordState.Free : RecordState.InUse) || position < 0 || length < 0 || position + length > record.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, "FILE record", table.OffsetOfOrNone(number), $"record {number} changed");
        }

        _value = volume.Context.Budget.Rent(length);
        record.Span.Slice(position, length).CopyTo(_value.Span);
    }

    public long Length => _value.Length;

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "resident value");
        _value.Span.Slice((int)offset, destination.Length).CopyTo(destination);
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "resident value");
        return _table.Locate(_number, _position + offset, count);
    }

    public void Dispose() => _value.Dispose();
}
