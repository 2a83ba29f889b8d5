using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmsweep.Signatures.Hashes;

/// <summary>One table of a compiled set: entries sorted by hash, found by their first bytes.</summary>
/// <param name="HashBytes">32, 20 or 16.</param>
/// <param name="FanBytes">How many leading bytes of each hash the fan-out table stands for; entries are without them.</param>
/// <param name="LabelBytes">Size of an entry's label number; 0 where all have the same label or none.</param>
internal readonly record struct HashTableShape(int HashBytes, long Count, int FanBytes, int LabelBytes)
{
    public int RestBytes => HashBytes - FanBytes;

    public int EntryBytes => RestBytes + LabelBytes;

    public long EntriesBytes => Count * EntryBytes;

    public long FanTableBytes => Count == 0 ? 0 : 4L << (8 * FanBytes);
}

/// <summary>
/// The header of a compiled hash set, version 1, little-endian, 512 bytes. Behind it, without gaps: for SHA-256, SHA-1 and MD5 the
/// entries and then the fan-out table (for each value of the first bytes how many entries are not above it, 32 bits each); labels
/// (severity, a zero, 16 bits number of the source, 16 bits length, name in UTF-8, filled up to 8 bytes); sources (16 bits length, text).
/// </summary>
internal sealed record HashSetLayout(HashSetKind Kind, DateTimeOffset Created, IReadOnlyList<HashTableShape> Tables, long LabelsBytes, long SourcesBytes)
{
    public const int HeaderBytes = 512;
    public const int LabelUnit = 8;
    public const int LabelHeadBytes = 6;

    private const uint Version = 1;
    private const int DigestAt = 32;
    private const int TablesAt = 64;
    private const int TableBytes = 16;
    private const int HeaderDigestAt = HeaderBytes - SHA256.HashSizeInBytes;

    /// <summary>Fan-out numbers have 32 bits.</summary>
    private const long MostEntries = uint.MaxValue;

    private const long MostLabelsBytes = (long)uint.MaxValue * LabelUnit;
    private const long MostSourcesBytes = 1 << 24;

    public static readonly int[] Algorithms = [SHA256.HashSizeInBytes, SHA1.HashSizeInBytes, MD5.HashSizeInBytes];

    private static ReadOnlySpan<byte> Magic => "VMSWHASH"u8;

    /// <summary>SHA-256 over everything behind the header.</summary>
    public required byte[] Digest { get; init; }

    public long LabelsAt => HeaderBytes + Tables.Sum(t => t.EntriesBytes + t.FanTableBytes);

    public long FileBytes => LabelsAt + LabelsBytes + SourcesBytes;

    public static bool HasMagic(ReadOnlySpan<byte> head) => head.StartsWith(Magic);

    /// <summary>The most leading bytes for which the fan-out table stays small beside the entries.</summary>
    public static int FanBytesFor(long count) => count >= 1 << 23 ? 3 : count >= 1 << 14 ? 2 : 1;

    public byte[] ToBytes()
    {
        byte[] header = new byte[HeaderBytes];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), Version);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(12), (uint)Kind);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(16), FileBytes);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(24), Created.ToUnixTimeSeconds());
        Digest.CopyTo(header, DigestAt);
        for (int i = 0; i < Algorithms.Length; i++)
        {
            Span<byte> table = header.AsSpan(TablesAt + (i * TableBytes), TableBytes);
            BinaryPrimitives.WriteInt64LittleEndian(table, Tables[i].Count);
            BinaryPrimitives.WriteInt32LittleEndian(table[8..], Tables[i].FanBytes);
            BinaryPrimitives.WriteInt32LittleEndian(table[12..], Tables[i].LabelBytes);
        }

        Span<byte> rest = header.AsSpan(TablesAt + (Algorithms.Length * TableBytes));
        BinaryPrimitives.WriteInt64LittleEndian(rest, LabelsBytes);
        BinaryPrimitives.WriteInt64LittleEndian(rest[8..], SourcesBytes);
        SHA256.HashData(header.AsSpan(0, HeaderDigestAt)).CopyTo(header, HeaderDigestAt);
        return header;
    }

    /// <param name="header">The first bytes of the file.</param>
    /// <param name="fileBytes">How long the file is.</param>
    /// <exception cref="HashSetException">It is no compiled set, another version, damaged or cut short.</exception>
    public static HashSetLayout Parse(ReadOnlySpan<byte> header, long fileBytes)
    {
        Require(HasMagic(header), "it is no compiled hash set");
        Require(header.Length == HeaderBytes, "it is cut short");
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
        Require(version == Version, $"version {version} is not known; build it again");
        Require(SHA256.HashData(header[..HeaderDigestAt]).AsSpan().SequenceEqual(header[HeaderDigestAt..]), "its header is damaged");
        uint kind = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]);
        Require(kind is (uint)HashSetKind.Bad or (uint)HashSetKind.KnownGood, $"its kind {kind} is not known");
        long created = BinaryPrimitives.ReadInt64LittleEndian(header[24..]);
        Require(created is >= 0 and < 253_402_300_800, "its date is none");
        List<HashTableShape> tables = [];
        for (int i = 0; i < Algorithms.Length; i++)
        {
            ReadOnlySpan<byte> table = header.Slice(TablesAt + (i * TableBytes), TableBytes);
            long count = BinaryPrimitives.ReadInt64LittleEndian(table);
            int fan = BinaryPrimitives.ReadInt32LittleEndian(table[8..]);
            int label = BinaryPrimitives.ReadInt32LittleEndian(table[12..]);
            Require(count is >= 0 and <= MostEntries && fan is >= 1 and <= 3 && label is >= 0 and <= 4, "a table of it has an impossible shape");
            tables.Add(new HashTableShape(Algorithms[i], count, fan, label));
        }

        ReadOnlySpan<byte> rest = header[(TablesAt + (Algorithms.Length * TableBytes))..];
        long labels = BinaryPrimitives.ReadInt64LittleEndian(rest);
        long sources = BinaryPrimitives.ReadInt64LittleEndian(rest[8..]);
        Require(labels is >= 0 and <= MostLabelsBytes && labels % LabelUnit == 0 && sources is >= 0 and <= MostSourcesBytes, "its names have an impossible size");
        var layout = new HashSetLayout((HashSetKind)kind, DateTimeOffset.FromUnixTimeSeconds(created), tables, labels, sources) { Digest = header.Slice(DigestAt, SHA256.HashSizeInBytes).ToArray() };
        Require(layout.FileBytes == fileBytes && BinaryPrimitives.ReadInt64LittleEndian(header[16..]) == fileBytes, $"it has {fileBytes} bytes instead of {layout.FileBytes}: it is cut short, or something was added");
        return layout;
    }

    private static void Require(bool isSo, string otherwise)
    {
        if (!isSo)
        {
            throw new HashSetException(otherwise);
        }
    }
}
