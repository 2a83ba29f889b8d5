using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Guest.Rpm;

/// <summary>
/// A header of RPM as its databases keep it: counts of index entries and of data bytes, the entries (tag, type, offset, count), the data.
/// Spec: RPM Reference Manual, "RPM V4 Package format", Header. Big-endian. Of large ones only the beginning is at hand, where the
/// name stands.
/// </summary>
internal static class RpmHeader
{
    /// <summary>Bytes of a header that are looked at.</summary>
    public const int MostBytes = 256 << 10;

    private const int EntryBytes = 16;
    private const uint MostEntries = 0xFFFF;
    private const uint StringType = 6;
    private const uint Name = 1000;
    private const uint Version = 1001;
    private const uint Release = 1002;

    /// <summary>Name and version with release; null when the bytes are none.</summary>
    public static (string Name, string Version)? Read(ReadOnlySpan<byte> header)
    {
        if (header.Length < 8)
        {
            return null;
        }

        uint entries = BinaryPrimitives.ReadUInt32BigEndian(header);
        if (entries is 0 or > MostEntries || 8 + (entries * EntryBytes) > header.Length)
        {
            return null;
        }

        ReadOnlySpan<byte> data = header[(8 + ((int)entries * EntryBytes))..];
        string? name = null, version = null, release = null;
        for (int i = 0; i < entries; i++)
        {
            ReadOnlySpan<byte> entry = header.Slice(8 + (i * EntryBytes), EntryBytes);
            uint tag = BinaryPrimitives.ReadUInt32BigEndian(entry);
            uint offset = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
            if (tag is < Name or > Release || BinaryPrimitives.ReadUInt32BigEndian(entry[4..]) != StringType || offset >= data.Length)
            {
                continue;
            }

            string text = Text(data[(int)offset..]);
            _ = tag switch
            {
                Name => name ??= text,
                Version => version ??= text,
                _ => release ??= text,
            };
        }

        return name is { Length: > 0 } ? (name, release is { Length: > 0 } ? $"{version}-{release}" : version ?? "") : null;
    }

    private static string Text(ReadOnlySpan<byte> data)
    {
        data = data[..Math.Min(data.Length, GuestFacts.MostText)];
        int end = data.IndexOf((byte)0);
        return end < 0 ? "" : Encoding.UTF8.GetString(data[..end]);
    }
}
