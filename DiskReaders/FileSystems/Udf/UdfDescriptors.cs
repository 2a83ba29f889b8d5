using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>A volume descriptor sequence. Spec: ECMA-167, sections 3/8.4.2 and 3/10; of each kind the highest number prevails.</summary>
internal sealed class UdfDescriptors
{
    public const string Structure = "UDF volume descriptor sequence";

    private const int MostBlocks = 4096;
    private const int MostPointers = 8;

    private readonly Dictionary<int, (uint Number, byte[] Bytes, long Offset)> _partitions = [];
    private (uint Number, byte[] Bytes, long Offset)? _primary;
    private (uint Number, byte[] Bytes, long Offset)? _logical;

    /// <summary>There is all that reading needs.</summary>
    public bool IsWhole => _logical is not null && _partitions.Count > 0;

    /// <summary>A descriptor that is there is damaged.</summary>
    public bool IsDamaged { get; private set; }

    public LeView Logical => View(_logical, "UDF Logical Volume Descriptor");

    public bool HasPrimary => _primary is not null;

    public LeView Primary => View(_primary, "UDF Primary Volume Descriptor");

    /// <summary>Start and length in blocks of a partition; null when its descriptor is not here.</summary>
    public (uint Start, uint Blocks)? Partition(int number)
    {
        if (!_partitions.TryGetValue(number, out (uint, byte[], long) found))
        {
            return null;
        }

        LeView v = View(found, "UDF Partition Descriptor");
        return (v.U32(188), v.U32(192));
    }

    public static UdfDescriptors Read(IBlockSource volume, int blockBytes, uint bytes, uint block)
    {
        var sequence = new UdfDescriptors();
        long left = Math.Min(bytes / (uint)blockBytes, MostBlocks);
        int pointers = 0;
        byte[] sector = new byte[blockBytes];
        while (left-- > 0)
        {
            long offset = (long)block * blockBytes;
            if (!volume.TryRead(offset, sector))
            {
                break;
            }

            var v = new LeView(sector, Structure, offset);
            int tag = UdfTag.Identify(v, block);
            block = unchecked(block + 1);
            if (tag == UdfTag.Terminating || (tag < 0 && !sector.AsSpan().ContainsAnyExcept((byte)0)))
            {
                break;
            }

            if (tag == UdfTag.VolumePointer && pointers++ < MostPointers)
            {
                left = Math.Min(v.U32(20) / (uint)blockBytes, MostBlocks);
                block = v.U32(24);
            }
            else
            {
                sequence.Take(tag, v);
            }
        }

        return sequence;
    }

    private static LeView View((uint Number, byte[] Bytes, long Offset)? found, string structure) =>
        found is { } f ? new LeView(f.Bytes, structure, f.Offset) : throw new DiskFormatException(Fault.Corrupt, structure, -1, "it is missing");

    private void Take(int tag, LeView v)
    {
        uint number = v.U32(16);
        switch (tag)
        {
            case UdfTag.PrimaryVolume when _primary is null || number >= _primary.Value.Number:
                _primary = (number, v.Bytes.ToArray(), v.Offset);
                break;
            case UdfTag.LogicalVolume when _logical is null || number >= _logical.Value.Number:
                _logical = (number, v.Bytes.ToArray(), v.Offset);
                break;
            case UdfTag.Partition:
                int partition = v.U16(22);
                if (!_partitions.TryGetValue(partition, out (uint Number, byte[], long) old) || number >= old.Number)
                {
                    _partitions[partition] = (number, v.Bytes.ToArray(), v.Offset);
                }

                break;
            case -1:
                IsDamaged = true;
                break;
        }
    }
}
