using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// The owners in <c>$Secure:$SDS</c>: entries of hash, SecurityId, offset, length and a self-relative security descriptor, 16-byte
/// aligned, in blocks of 256 KiB that each stand twice. Spec: [MS-DTYP] 2.4.6 for the descriptor, 2.4.2 for the SID. Little-endian.
/// </summary>
internal static class SecurityDescriptors
{
    private const int EntryHeaderBytes = 20;
    private const int BlockBytes = 256 << 10;
    private const int MaxDescriptorBytes = 64 << 10;

    /// <summary>Beyond this many bytes owners are not read: they only name files, they hide nothing.</summary>
    private const long MaxStreamBytes = 64 << 20;

    /// <summary>SecurityId to the owner's SID as text. What is damaged is left out.</summary>
    public static Dictionary<uint, string> Owners(IBlockSource stream, ReadContext context)
    {
        var owners = new Dictionary<uint, string>();
        var texts = new Dictionary<string, string>(StringComparer.Ordinal);
        using RentedBuffer buffer = context.Budget.Rent(BlockBytes);
        long end = Math.Min(stream.Length, MaxStreamBytes);

        // Every second block is the copy of the one before it.
        for (long block = 0; block < end; block += 2 * BlockBytes)
        {
            context.ThrowIfCancelled();
            Span<byte> bytes = buffer.Span[..(int)Math.Min(BlockBytes, end - block)];
            stream.Read(block, bytes);
            var view = new LeView(bytes, "$SDS", block);
            int at = 0;
            while (at <= bytes.Length - EntryHeaderBytes)
            {
                uint length = view.U32(at + 16);
                if (length is < EntryHeaderBytes or > MaxDescriptorBytes || length > bytes.Length - at || view.U64(at + 8) != (ulong)(block + at))
                {
                    break;
                }

                if (OwnerOf(view.Inner(at + EntryHeaderBytes, (int)length - EntryHeaderBytes, "SECURITY_DESCRIPTOR")) is { } owner)
                {
                    texts.TryAdd(owner, owner);
                    owners[view.U32(at + 4)] = texts[owner];
                }

                at += ((int)length + 15) & ~15;
            }
        }

        return owners;
    }

    private static string? OwnerOf(LeView descriptor)
    {
        if (descriptor.Length < 20)
        {
            return null;
        }

        uint owner = descriptor.U32(4);
        if (owner == 0 || owner > descriptor.Length - 8)
        {
            return null;
        }

        int subAuthorities = descriptor.U8((int)owner + 1);
        if (descriptor.U8((int)owner) != 1 || subAuthorities > 15 || owner + 8 + (4 * subAuthorities) > descriptor.Length)
        {
            return null;
        }

        ulong authority = 0;
        foreach (byte b in descriptor.Field((int)owner + 2, 6))
        {
            authority = (authority << 8) | b;
        }

        var text = new StringBuilder("S-1-").Append(authority.ToString(CultureInfo.InvariantCulture));
        for (int i = 0; i < subAuthorities; i++)
        {
            text.Append('-').Append(descriptor.U32((int)owner + 8 + (4 * i)).ToString(CultureInfo.InvariantCulture));
        }

        return text.ToString();
    }
}
