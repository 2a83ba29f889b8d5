using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Compression;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>Unpacks blocks of data and metadata. Keeps one decoder between uses; more threads at once make their own.</summary>
internal sealed class BlockUnpacker(Compressor compressor) : IDisposable
{
    // With the whole block as output the decoder holds no window, so what a frame asks for costs nothing.
    private const int MostZstdWindowLog = 27;

    // The header of an .lzma file: properties, dictionary size, unpacked size.
    private const int LzmaHeaderBytes = 13;

    private LzmaDecoder? _idleLzma;
    private ZstdDecoder? _idleZstd;

    /// <summary>Unpacks one block.</summary>
    /// <param name="from">Exactly the packed bytes.</param>
    /// <param name="to">Where to; a block that makes more is corrupt.</param>
    /// <param name="structure">What it is, and <paramref name="location"/> where, for messages.</param>
    /// <returns>Bytes made.</returns>
    public int Unpack(ReadOnlyMemory<byte> from, Span<byte> to, string structure, long location)
    {
        string? wrong = null;
        int made;
        switch (compressor)
        {
            case Compressor.Gzip:
                made = MemoryMarshal.TryGetArray(from, out ArraySegment<byte> array)
                    ? Deflated.Unpack(array, to, isRaw: false, isPart: false)
                    : throw new InvalidOperationException("packed bytes without an array");
                break;
            case Compressor.Lzo:
                made = Lzo.Unpack(from.Span, to);
                break;
            case Compressor.Lz4:
                made = Lz4.Unpack(from.Span, to);
                break;
            case Compressor.Zstd:
                ZstdDecoder zstd = Interlocked.Exchange(ref _idleZstd, null) ?? new ZstdDecoder(MostZstdWindowLog);
                made = zstd.UnpackAll(from.Span, to);
                Interlocked.Exchange(ref _idleZstd, zstd)?.Dispose();
                break;
            default:
                LzmaDecoder lzma = Interlocked.Exchange(ref _idleLzma, null) ?? new LzmaDecoder();
                if (compressor == Compressor.Lzma)
                {
                    made = Lzma(lzma, from.Span, to);
                }
                else if ((wrong = Xz.Unpack(lzma, from.Span, to, out made)) is not null)
                {
                    made = -1;
                }

                Interlocked.Exchange(ref _idleLzma, lzma);
                break;
        }

        return made >= 0
            ? made
            : throw new DiskFormatException(Fault.Corrupt, structure, location, wrong ?? $"a malformed {compressor.ToString().ToUpperInvariant()} block, or more than {to.Length} bytes in it");
    }

    public void Dispose() => Interlocked.Exchange(ref _idleZstd, null)?.Dispose();

    private static int Lzma(LzmaDecoder lzma, ReadOnlySpan<byte> from, Span<byte> to)
    {
        if (from.Length < LzmaHeaderBytes || !lzma.SetProperties(from[0]))
        {
            return -1;
        }

        ulong declared = BinaryPrimitives.ReadUInt64LittleEndian(from[5..]);
        if (declared != ulong.MaxValue && declared > (ulong)to.Length)
        {
            return -1;
        }

        int end = declared == ulong.MaxValue ? to.Length : (int)declared;
        var coder = new RangeDecoder(from[LzmaHeaderBytes..]);
        int made = 0;
        return lzma.Unpack(ref coder, to, 0, ref made, end, isPart: false) && (made == end || declared == ulong.MaxValue) ? made : -1;
    }
}
