using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Compression;

namespace Vmsweep.DiskReaders.FileSystems.Erofs.Compressed;

/// <summary>Compression algorithms (<c>h_algorithmtype</c>).</summary>
internal enum Algorithm : byte
{
    Lz4 = 0,
    Lzma = 1,
    Deflate = 2,
    Zstd = 3,
}

/// <summary>Unpacks physical clusters. Keeps one decoder of a kind between uses; more threads at once make their own.</summary>
internal sealed class PclusterUnpacker : IDisposable
{
    // With the whole output at hand the decoder holds no window.
    private const int MostZstdWindowLog = 27;

    private LzmaDecoder? _idleLzma;
    private ZstdDecoder? _idleZstd;

    /// <summary>Fills <paramref name="to"/>, all of it.</summary>
    /// <param name="from">The cluster; without zeros before what is packed.</param>
    /// <param name="isPart">The cluster may hold more than is wanted.</param>
    /// <param name="location">For messages.</param>
    public void Unpack(Algorithm algorithm, ReadOnlyMemory<byte> from, Span<byte> to, bool isPart, long location)
    {
        int made;
        switch (algorithm)
        {
            case Algorithm.Lz4:
                made = Lz4.Unpack(from.Span, to, isPart);
                break;
            case Algorithm.Lzma:
                LzmaDecoder lzma = Interlocked.Exchange(ref _idleLzma, null) ?? new LzmaDecoder();
                made = MicroLzma(lzma, from.Span, to, isPart);
                Interlocked.Exchange(ref _idleLzma, lzma);
                break;
            case Algorithm.Deflate:
                made = MemoryMarshal.TryGetArray(from, out ArraySegment<byte> array)
                    ? Deflated.Unpack(array, to, isRaw: true, isPart)
                    : throw new InvalidOperationException("packed bytes without an array");
                break;
            case Algorithm.Zstd:
                ZstdDecoder zstd = Interlocked.Exchange(ref _idleZstd, null) ?? new ZstdDecoder(MostZstdWindowLog);
                made = -1;
                if (!isPart)
                {
                    made = zstd.UnpackAll(from.Span, to);
                }
                else if (zstd.Unpack(from.Span, to, out int some) is null)
                {
                    made = some;
                }

                Interlocked.Exchange(ref _idleZstd, zstd)?.Dispose();
                break;
            default:
                throw new DiskFormatException(Fault.Unsupported, "erofs pcluster", location, $"compression algorithm {(byte)algorithm}");
        }

        if (made != to.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, "erofs pcluster", location, $"malformed {algorithm.ToString().ToUpperInvariant()} data, or not of {to.Length} bytes");
        }
    }

    public void Dispose() => Interlocked.Exchange(ref _idleZstd, null)?.Dispose();

    // XZ Utils, "MicroLZMA": LZMA without header; the first byte, which would be 0, is the bitwise complement of the properties.
    private static int MicroLzma(LzmaDecoder lzma, ReadOnlySpan<byte> from, Span<byte> to, bool isPart)
    {
        if (from.IsEmpty || !lzma.SetProperties((byte)(from[0] ^ 0xFF)))
        {
            return -1;
        }

        var coder = new RangeDecoder(from, firstIsProperties: true);
        int made = 0;
        return lzma.Unpack(ref coder, to, 0, ref made, to.Length, isPart) ? made : -1;
    }
}
