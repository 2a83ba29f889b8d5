using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// A metadata area: <c>struct mda_header</c> in its first 512 bytes, then a ring of texts, of which <c>raw_locns</c> places the
/// committed one. Spec: libvslvm "LVM format", "Metadata area". Little-endian.
/// </summary>
internal static class MetadataArea
{
    public const int HeaderBytes = 512;

    private const string Structure = "LVM2 mda_header";

    // checksum_xl 0, magic 4, version 20, start 24, size 32, raw_locns from 40 of offset 0, size 8, checksum 16, flags 20.
    private const int LocationsAt = 40;
    private const uint Ignored = 1;

    private static ReadOnlySpan<byte> Magic => " LVM2 x[5A%r0N*>"u8;

    /// <summary>The committed text; null where the area holds none. The caller disposes it.</summary>
    /// <exception cref="DiskFormatException">The header or the text is faulty.</exception>
    public static RentedBuffer? ReadText(IBlockSource content, LabelArea area, ReadContext context)
    {
        Bounds.Check(area.Offset, HeaderBytes, content.Length, Structure);
        Span<byte> bytes = stackalloc byte[HeaderBytes];
        content.Read(area.Offset, bytes);
        var header = new LeView(bytes, Structure, area.Offset);
        header.Require(header.U32(0) == Lvm2Crc.Of(bytes[4..]), 0, "checksum");
        header.Require(header.Field(4, Magic.Length).SequenceEqual(Magic), 4, "magic");
        if (header.U32(20) != 1)
        {
            throw header.Unsupported(20, "version");
        }

        header.Require(header.U64(24) == (ulong)area.Offset, 24, "start");
        long size = header.NonNegative64(32, "size");
        header.Require(size == area.Size && size > HeaderBytes && size <= content.Length - area.Offset, 32, "size");

        long offset = header.NonNegative64(LocationsAt, "raw_locns offset");
        long length = header.NonNegative64(LocationsAt + 8, "raw_locns size");
        if (offset == 0 || length == 0 || (header.U32(LocationsAt + 20) & Ignored) != 0)
        {
            return null;
        }

        header.Require(offset >= HeaderBytes && offset < size && length <= size - HeaderBytes, LocationsAt, "raw_locns");
        if (length > Lvm2Limits.MostTextBytes)
        {
            throw header.TooLarge(LocationsAt + 8, "raw_locns size");
        }

        RentedBuffer text = context.Budget.Rent((int)length);
        try
        {
            // The ring goes on behind the header.
            int before = (int)Math.Min(length, size - offset);
            content.Read(area.Offset + offset, text.Span[..before]);
            if (before < length)
            {
                content.Read(area.Offset + HeaderBytes, text.Span[before..]);
            }

            if (Lvm2Crc.Of(text.Span) != header.U32(LocationsAt + 16))
            {
                throw new DiskFormatException(Fault.Corrupt, ConfigText.Structure, area.Offset + offset, "bad checksum");
            }

            return text;
        }
        catch
        {
            text.Dispose();
            throw;
        }
    }
}
