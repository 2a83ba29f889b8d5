using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Compression;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Packing;

/// <summary>How an extent is compressed. Btrfs "On-disk Format", <c>EXTENT_DATA</c>.</summary>
internal enum Packing : byte
{
    None = 0,
    Zlib = 1,
    Lzo = 2,
    Zstd = 3,
}

/// <summary>Unpacks extents. Keeps one zstd decoder between uses; more threads at once make their own.</summary>
internal sealed class Unpackers : IDisposable
{
    private const string Structure = "btrfs compressed extent";
    private const int LzoLengthBytes = 4;

    // The window of what Btrfs writes is no larger than an extent unpacks to; a frame that asks for more is not opened by Linux either.
    private const int MostWindowLog = 17;

    private ZstdDecoder? _idle;

    /// <summary>
    /// Fills <paramref name="to"/>, all of it. The packed bytes may end early (the last sector of a file is packed to its end only, and
    /// encoded writes may declare more): what is left reads as zeros. More than fits is not asked for.
    /// </summary>
    /// <param name="location">For messages.</param>
    public void Unpack(Packing packing, ReadOnlyMemory<byte> from, Span<byte> to, int sectorBytes, long location)
    {
        int made;
        string? wrong;
        switch (packing)
        {
            case Packing.Zlib:
                wrong = Zlib(from, to, out made);
                break;
            case Packing.Lzo:
                wrong = LzoSegments(from.Span, to, sectorBytes, out made);
                break;
            case Packing.Zstd:
                wrong = Zstd(from.Span, to, out made);
                break;
            default:
                throw new DiskFormatException(Fault.Unsupported, Structure, location, $"compression {(byte)packing}");
        }

        if (wrong is not null)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, location, wrong);
        }

        to[made..].Clear();
    }

    public void Dispose() => Interlocked.Exchange(ref _idle, null)?.Dispose();

    // RFC 1950.
    private static string? Zlib(ReadOnlyMemory<byte> from, Span<byte> to, out int made)
    {
        made = 0;
        if (!MemoryMarshal.TryGetArray(from, out ArraySegment<byte> array))
        {
            throw new InvalidOperationException("packed bytes without an array");
        }

        using var source = new TellingStream(array);
        using var inflate = new ZLibStream(source, CompressionMode.Decompress);
        try
        {
            made = inflate.ReadAtLeast(to, to.Length, throwOnEndOfStream: false);
            return made == to.Length || !source.RanDry ? null : $"its zlib stream breaks off after {made} bytes";
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // The source is memory, so an IOException is zlib's own.
            return e.Message;
        }
    }

    // Btrfs "On-disk Format", "Compression": the length of all, then segments, each of at most a sector unpacked, headed by their length,
    // which never crosses a sector boundary of the packed bytes.
    private static string? LzoSegments(ReadOnlySpan<byte> from, Span<byte> to, int sectorBytes, out int made)
    {
        made = 0;
        if (from.Length < LzoLengthBytes)
        {
            return "it is too short for LZO";
        }

        uint total = BinaryPrimitives.ReadUInt32LittleEndian(from);
        if (total < LzoLengthBytes || total > from.Length)
        {
            return $"its LZO length is {total} of {from.Length}";
        }

        int end = (int)total;
        for (int at = LzoLengthBytes; at < end && made < to.Length;)
        {
            int room = sectorBytes - (at % sectorBytes);
            if (room < LzoLengthBytes)
            {
                at += room;
            }

            if (end - at < LzoLengthBytes)
            {
                return at >= end ? null : "an LZO segment is cut off";
            }

            uint length = BinaryPrimitives.ReadUInt32LittleEndian(from[at..]);
            at += LzoLengthBytes;
            if (length > (uint)(end - at))
            {
                return $"an LZO segment of {length} bytes";
            }

            int got = Lzo.Unpack(from.Slice(at, (int)length), to.Slice(made, Math.Min(sectorBytes, to.Length - made)));
            if (got < 0)
            {
                return $"a malformed LZO segment after {made} bytes";
            }

            made += got;
            at += (int)length;
        }

        return null;
    }

    private string? Zstd(ReadOnlySpan<byte> from, Span<byte> to, out int made)
    {
        ZstdDecoder decoder = Interlocked.Exchange(ref _idle, null) ?? new ZstdDecoder(MostWindowLog);
        try
        {
            return decoder.Unpack(from, to, out made);
        }
        finally
        {
            Interlocked.Exchange(ref _idle, decoder)?.Dispose();
        }
    }

    /// <summary>Tells whether zlib asked for more than there is: the stream did not end by itself.</summary>
    private sealed class TellingStream(ArraySegment<byte> bytes) : MemoryStream(bytes.Array!, bytes.Offset, bytes.Count, writable: false)
    {
        public bool RanDry { get; private set; }

        public override int Read(byte[] buffer, int offset, int count)
        {
            int got = base.Read(buffer, offset, count);
            RanDry |= got == 0 && count > 0;
            return got;
        }

        public override int Read(Span<byte> buffer)
        {
            int got = base.Read(buffer);
            RanDry |= got == 0 && buffer.Length > 0;
            return got;
        }
    }
}
