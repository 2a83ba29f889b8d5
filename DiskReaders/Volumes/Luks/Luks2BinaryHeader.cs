using System.Numerics;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>"Binary header", LUKS2 On-Disk Format Specification 1.1, section 3.1. Big-endian; 4096 bytes, the JSON area follows.</summary>
internal sealed class Luks2BinaryHeader
{
    public const int Size = 4096;
    public const long LeastHeaderBytes = 16 << 10;
    public const long MostHeaderBytes = 4 << 20;
    private const string Name = "LUKS2 binary header";
    private const int ChecksumAt = 448;
    private const int ChecksumBytes = 64;

    private Luks2BinaryHeader(BeView v, long offset)
    {
        Offset = offset;
        HeaderBytes = HeaderBytesOf(v);
        SequenceId = v.U64(16);
        Label = Text(v, 24, 48);
        Uuid = Text(v, 168, 40);
        Subsystem = Text(v, 208, 48);

        // "If the offset does not match, the header is misplaced and must not be used."
        v.Require(v.U64(256) == (ulong)offset, 256, "hdr_offset");
        v.Require(offset == 0 || offset == HeaderBytes, 8, "hdr_size: the second header does not follow the first");
    }

    /// <summary>Where it lies: 0, or for the second its own size.</summary>
    public long Offset { get; }

    /// <summary>With the JSON area.</summary>
    public long HeaderBytes { get; }

    /// <summary>Rises with each change: the newest sound header counts.</summary>
    public ulong SequenceId { get; }

    public string Label { get; }

    public string Uuid { get; }

    public string Subsystem { get; }

    /// <summary>Reads and verifies one of the two headers. The answer's JSON area follows it in the buffer, which the caller returns.</summary>
    public static (Luks2BinaryHeader Header, RentedBuffer Bytes) Read(IBlockSource content, long offset, ReadContext context)
    {
        Span<byte> head = stackalloc byte[ChecksumAt];
        Bounds.Check(offset, LeastHeaderBytes, content.Length, Name);
        content.Read(offset, head);
        var v = new BeView(head, Name, offset);
        v.Require(offset == 0 ? LuksFormat.IsFirst(head, 2) : LuksFormat.IsSecond(head), 0, "magic");
        var header = new Luks2BinaryHeader(v, offset);
        Bounds.Check(offset, header.HeaderBytes, content.Length, Name);
        RentedBuffer bytes = context.Budget.Rent((int)header.HeaderBytes);
        try
        {
            content.Read(offset, bytes.Span);
            CheckSum(new BeView(bytes.Span, Name, offset), bytes.Span);
            return (header, bytes);
        }
        catch
        {
            bytes.Dispose();
            throw;
        }
    }

    /// <summary>Section 3.1: "only these sizes are allowed", which are the offsets of the second header, too.</summary>
    private static long HeaderBytesOf(BeView v)
    {
        ulong bytes = v.U64(8);
        v.Require(bytes >= LeastHeaderBytes && bytes <= MostHeaderBytes && BitOperations.IsPow2(bytes), 8, "hdr_size");
        return (long)bytes;
    }

    /// <summary>Over binary header and JSON area, the checksum itself as zeros.</summary>
    private static void CheckSum(BeView v, Span<byte> bytes)
    {
        HashAlgorithmName algorithm = LuksHash.Of(Text(v, 72, 32), Name, v.Offset + 72);
        Span<byte> stored = stackalloc byte[ChecksumBytes];
        Span<byte> found = stackalloc byte[ChecksumBytes];
        Span<byte> field = bytes.Slice(ChecksumAt, ChecksumBytes);
        field.CopyTo(stored);
        field.Clear();
        CryptographicOperations.HashData(algorithm, bytes, found);
        int length = LuksHash.Bytes(algorithm);
        v.Require(found[..length].SequenceEqual(stored[..length]), ChecksumAt, "csum");
    }

    private static string Text(BeView v, int at, int length)
    {
        ReadOnlySpan<byte> field = v.Field(at, length);
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }
}
