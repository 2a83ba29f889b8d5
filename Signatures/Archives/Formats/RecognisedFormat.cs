using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Archives that are known and not opened: each is a gap, because members are in it that no rule has seen.</summary>
internal sealed class RecognisedFormat : IArchiveFormat
{
    public string Name => "recognised";

    public bool Fits(ReadOnlySpan<byte> content) => NameOf(content) is not null;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink) =>
        sink.Gap(ArchiveFault.Unsupported, NameOf(content.Span)!, 0, content.Length, "this kind of archive is not opened; it was matched as it is");

    private static string? NameOf(ReadOnlySpan<byte> content)
    {
        if (content.Length < 64)
        {
            return null;
        }

        return content[0] switch
        {
            0x60 when content[1] == 0xEA && IsArj(content) => "arj",
            _ when content[2] == '-' && content[3] == 'l' && content[4] is (byte)'h' or (byte)'z' && content[6] == '-' && IsLha(content) => "lha",
            _ when content.Slice(7, 7).SequenceEqual("**ACE**"u8) => "ace",
            (byte)'x' when content.StartsWith("xar!"u8) && BinaryPrimitives.ReadUInt16BigEndian(content[4..]) is >= 28 and <= 64 => "xar",
            (byte)'I' when content.StartsWith("ISc("u8) => "InstallShield cabinet",
            _ => null,
        };
    }

    /// <summary>The basic header's checksum is right.</summary>
    private static bool IsArj(ReadOnlySpan<byte> content)
    {
        int size = BinaryPrimitives.ReadUInt16LittleEndian(content[2..]);
        return size is >= 30 and <= 2600 && content.Length >= 8 + size
            && Decoders.Crc32.Of(content.Slice(4, size)) == BinaryPrimitives.ReadUInt32LittleEndian(content[(4 + size)..]);
    }

    /// <summary>Levels 0 and 1 sum their header; level 2 begins with its size.</summary>
    private static bool IsLha(ReadOnlySpan<byte> content)
    {
        if (content[20] == 2)
        {
            return BinaryPrimitives.ReadUInt16LittleEndian(content) is >= 26 and <= 4096;
        }

        int size = content[0];
        if (content[20] > 1 || size < 22 || content.Length < 2 + size)
        {
            return false;
        }

        byte sum = 0;
        foreach (byte b in content.Slice(2, size))
        {
            sum += b;
        }

        return sum == content[1];
    }
}
