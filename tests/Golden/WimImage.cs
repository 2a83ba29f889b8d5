using System.Buffers.Binary;

namespace Vmsweep.Golden;

/// <summary>
/// Files that wimlib packed: the resources of a WIM are, byte for byte, what a <c>WofCompressedData</c> stream holds. Spec:
/// Microsoft, "Windows Imaging File Format (WIM)".
/// </summary>
public static class WimImage
{
    private const int LookupTable = 48;
    private const int LookupEntryBytes = 50;
    private const byte Compressed = 4;

    /// <summary>Packs every file of a folder and gives the packed resource of each content, by the content's SHA-1.</summary>
    public static Dictionary<string, byte[]> Pack(string folder, string scratch, string codec, int chunkBytes)
    {
        string wim = Path.Combine(scratch, $"{codec}{chunkBytes}.wim");
        Tool.Run("wimlib-imagex", "capture", folder, wim, $"--compress={codec}", $"--chunk-size={chunkBytes}", "--threads=1");
        byte[] bytes = File.ReadAllBytes(wim);
        (int table, int tableBytes, _) = Resource(bytes, LookupTable);
        var packed = new Dictionary<string, byte[]>();
        for (int at = table; at < table + tableBytes; at += LookupEntryBytes)
        {
            (int from, int stored, bool compressed) = Resource(bytes, at);
            if (compressed)
            {
                packed[Convert.ToHexStringLower(bytes.AsSpan(at + 30, 20))] = bytes.AsSpan(from, stored).ToArray();
            }
        }

        return packed;
    }

    /// <summary>A resource header: 7 bytes of stored size, a byte of flags, 8 of offset, 8 of original size.</summary>
    private static (int Offset, int Stored, bool Compressed) Resource(byte[] bytes, int at)
    {
        ulong sizeAndFlags = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));
        return (
            (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at + 8)),
            (int)(sizeAndFlags & 0xFF_FFFF_FFFF_FFFF),
            ((byte)(sizeAndFlags >> 56) & Compressed) != 0);
    }
}
