using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Compression;

namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>Makes pages that do not stand in the stream as they are.</summary>
internal static class PageReader
{
    private const int PageBytes = RamPages.PageBytes;

    /// <summary>Fills one page.</summary>
    public static void Read(IBlockSource stream, PageChanges changes, PageKind kind, long place, Span<byte> page)
    {
        switch (kind)
        {
            case PageKind.Plain:
                stream.Read(place, page);
                break;
            case PageKind.Fill:
                Span<byte> value = stackalloc byte[1];
                stream.Read(place, value);
                page.Fill(value[0]);
                break;
            case PageKind.Changed:
                Changed(stream, changes, place, page);
                break;
            default:
                page.Clear();
                break;
        }
    }

    private static void Changed(IBlockSource stream, PageChanges changes, long number, Span<byte> page)
    {
        // The changes from the last down to the first, then applied from the first up. Their number was bounded when they were added.
        var layers = new Stack<PageChange>();
        PageChange change = changes[number];
        while (change.IsDelta)
        {
            layers.Push(change);
            if (change.Kind != PageKind.Changed)
            {
                Read(stream, changes, change.Kind, change.Before, page);
                break;
            }

            change = changes[change.Before];
        }

        byte[] bytes = new byte[PageBytes * 2];
        if (!change.IsDelta)
        {
            stream.Read(change.Place, bytes.AsSpan(0, change.Length));
            if (Deflated.Unpack(new ArraySegment<byte>(bytes, 0, change.Length), page, isRaw: false, isPart: false) != page.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, "packed page", change.Place, "malformed zlib data");
            }
        }

        foreach (PageChange layer in layers)
        {
            Span<byte> delta = bytes.AsSpan(0, layer.Length);
            stream.Read(layer.Place, delta);
            Apply(delta, page, layer.Place);
        }
    }

    /// <summary>XBZRLE (qemu docs/devel/migration, "XBZRLE"): how many bytes stay, how many follow, those; lengths as ULEB128 of two bytes at most.</summary>
    private static void Apply(ReadOnlySpan<byte> delta, Span<byte> page, long place)
    {
        int read = 0, at = 0;
        while (read < delta.Length)
        {
            int same = Length(delta, ref read, place);
            at += same;
            if (read >= delta.Length)
            {
                break;
            }

            int count = Length(delta, ref read, place);
            if (count == 0 || at + count > page.Length || count > delta.Length - read)
            {
                throw new DiskFormatException(Fault.Corrupt, "XBZRLE page", place, "malformed changes");
            }

            delta.Slice(read, count).CopyTo(page[at..]);
            read += count;
            at += count;
        }

        if (at > page.Length)
        {
            throw new DiskFormatException(Fault.Corrupt, "XBZRLE page", place, "malformed changes");
        }
    }

    private static int Length(ReadOnlySpan<byte> delta, ref int read, long place)
    {
        int value = delta[read++];
        if (value < 0x80)
        {
            return value;
        }

        return read < delta.Length && delta[read] < 0x80
            ? (value & 0x7F) | (delta[read++] << 7)
            : throw new DiskFormatException(Fault.Corrupt, "XBZRLE page", place, "malformed length");
    }
}
