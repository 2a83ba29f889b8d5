using System.IO.Compression;

namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>zlib streams (RFC 1950) and raw deflate (RFC 1951) in memory.</summary>
internal static class Deflated
{
    /// <summary>Unpacks one stream.</summary>
    /// <param name="from">The packed bytes, which may end after the stream.</param>
    /// <param name="to">What is unpacked.</param>
    /// <param name="isRaw">Without the zlib header.</param>
    /// <param name="isPart">Stop when <paramref name="to"/> is full, whatever follows.</param>
    /// <returns>Bytes made; -1 when the stream is malformed, breaks off or makes more than fits.</returns>
    public static int Unpack(ArraySegment<byte> from, Span<byte> to, bool isRaw, bool isPart)
    {
        using var source = new TellingStream(from);
        using Stream inflate = isRaw ? new DeflateStream(source, CompressionMode.Decompress) : new ZLibStream(source, CompressionMode.Decompress);
        try
        {
            int made = inflate.ReadAtLeast(to, to.Length, throwOnEndOfStream: false);
            if (isPart && made == to.Length)
            {
                return made;
            }

            Span<byte> more = stackalloc byte[1];
            return (made == to.Length && inflate.Read(more) != 0) || source.RanDry ? -1 : made;
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // The source is memory, so an IOException is zlib's own.
            return -1;
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
