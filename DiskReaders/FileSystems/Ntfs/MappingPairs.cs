using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// Goes over mapping pairs: a byte with two nibbles (bytes of the length, bytes of the LCN's difference), the length, the signed
/// difference from the LCN before; no difference is a hole. Ends with a zero byte.
/// Spec: Microsoft, "ATTRIBUTE_RECORD_HEADER structure", MappingPairsOffset. Little-endian.
/// </summary>
/// <param name="pairs">The pairs, perhaps with bytes behind their end.</param>
/// <param name="lowestVcn">The VCN of the first run.</param>
/// <param name="clusters">Clusters of the volume; a run lies within.</param>
/// <param name="maxVcn">No run passes this VCN.</param>
internal ref struct MappingPairs(ReadOnlySpan<byte> pairs, long lowestVcn, long clusters, long maxVcn)
{
    public const long HoleLcn = -1;
    private readonly ReadOnlySpan<byte> _pairs = pairs;
    private long _lcn;

    /// <summary>First VCN of the current run.</summary>
    public long Vcn { get; private set; } = lowestVcn;

    /// <summary>VCN behind the current run.</summary>
    public long NextVcn { get; private set; } = lowestVcn;

    /// <summary>First LCN of the current run, or <see cref="HoleLcn"/>.</summary>
    public long Lcn { get; private set; }

    /// <summary>Bytes of the pairs that were gone over, with the end once it was met.</summary>
    public int Used { get; private set; }

    /// <exception cref="DiskFormatException">A run is empty, leaves the volume or passes the largest VCN, or the end is missing.</exception>
    public bool MoveNext()
    {
        if (Used >= _pairs.Length)
        {
            throw Corrupt("no end");
        }

        int sizes = _pairs[Used++];
        if (sizes == 0)
        {
            return false;
        }

        int lengthBytes = sizes & 15;
        int lcnBytes = sizes >> 4;
        if (lengthBytes is 0 or > 8 || lcnBytes > 8 || lengthBytes + lcnBytes > _pairs.Length - Used)
        {
            throw Corrupt("bad sizes");
        }

        long length = Signed(_pairs.Slice(Used, lengthBytes));
        Used += lengthBytes;
        Vcn = NextVcn;
        if (length <= 0 || length > maxVcn - Vcn)
        {
            throw Corrupt($"run of {length} clusters at VCN {Vcn}");
        }

        NextVcn = Vcn + length;
        Lcn = HoleLcn;
        if (lcnBytes != 0)
        {
            long difference = Signed(_pairs.Slice(Used, lcnBytes));
            Used += lcnBytes;

            // The sum may wrap only for a difference that leaves the volume; both are refused.
            _lcn = unchecked(_lcn + difference);
            if (_lcn != HoleLcn)
            {
                if (_lcn < 0 || _lcn >= clusters || length > clusters - _lcn)
                {
                    throw Corrupt($"run of {length} clusters at LCN {_lcn}, the volume has {clusters}");
                }

                Lcn = _lcn;
            }
        }

        return true;
    }

    private static long Signed(ReadOnlySpan<byte> bytes)
    {
        Span<byte> full = stackalloc byte[8];
        full.Fill(bytes[^1] >= 0x80 ? (byte)0xFF : (byte)0);
        bytes.CopyTo(full);
        return BinaryPrimitives.ReadInt64LittleEndian(full);
    }

    private static DiskFormatException Corrupt(string detail) => new(Fault.Corrupt, "mapping pairs", -1, detail);
}
