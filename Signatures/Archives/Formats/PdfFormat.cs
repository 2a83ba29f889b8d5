using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// PDF: streams that are packed with deflate, which hold scripts, objects and attachments. Found by their keyword, not by the cross-reference table, which
/// malware breaks on purpose. Spec: ISO 32000-1, 7.3.8 and 7.4.4. Pictures too: any stream may call itself one.
/// </summary>
internal sealed class PdfFormat : IArchiveFormat
{
    private const int HeaderWithin = 1024;

    /// <summary>A stream's dictionary stands before it; nobody's is longer.</summary>
    private const int MostDictionary = 4096;

    public string Name => "pdf";

    public bool Fits(ReadOnlySpan<byte> content) => content.Length > 64 && content[..Math.Min(content.Length, HeaderWithin)].IndexOf("%PDF-"u8) is var at && at >= 0
        && (at == 0 || content[0] is not (byte)'P' and not (byte)'M') && content.IndexOf("endobj"u8) >= 0;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlySpan<byte> bytes = content.Span;
        if (IsEncrypted(bytes))
        {
            throw new ArchiveException(ArchiveFault.Encrypted, "pdf", -1, "its streams are encrypted");
        }

        for (int at = 0; at < bytes.Length;)
        {
            sink.Tick();
            int next = bytes[at..].IndexOf("stream"u8);
            if (next < 0)
            {
                return;
            }

            at += next + 6;
            if (at >= 9 && bytes.Slice(at - 9, 3).SequenceEqual("end"u8))
            {
                continue;
            }

            int data = at;
            data += data < bytes.Length && bytes[data] == '\r' ? 1 : 0;
            data += data < bytes.Length && bytes[data] == '\n' ? 1 : 0;
            if (data == at || bytes.Length - data < 8)
            {
                continue;
            }

            ReadOnlySpan<byte> dictionary = DictionaryBefore(bytes[Math.Max(0, at - 6 - MostDictionary)..(at - 6)]);
            int end = bytes[data..].IndexOf("endstream"u8);
            if (dictionary.IndexOf("/EmbeddedFile"u8) >= 0 && dictionary.IndexOf("/Filter"u8) < 0)
            {
                int stored = end < 0 ? bytes.Length - data : end;
                stored -= stored > 0 && bytes[data + stored - 1] == '\n' ? 1 : 0;
                stored -= stored > 0 && bytes[data + stored - 1] == '\r' ? 1 : 0;
                sink.Stored($"(stream at {data})", content.Slice(data, stored));
                at = data + stored;
                continue;
            }

            // The zlib header's check bits tell a stream from a word in a text.
            if (IsPacked(dictionary) && (bytes[data] & 15) == 8 && ((bytes[data] << 8) | bytes[data + 1]) % 31 == 0)
            {
                ReadOnlyMemory<byte> packed = end >= 0 ? content[(data + 2)..(data + end)] : content[(data + 2)..];
                sink.Packed($"(stream at {data})", -1, () => new InflateStream(packed));
                at = end >= 0 ? data + end : bytes.Length;
            }
        }
    }

    /// <summary>The last dictionary before the keyword asks for deflate.</summary>
    private static bool IsPacked(ReadOnlySpan<byte> dictionary) => dictionary.IndexOf("/FlateDecode"u8) >= 0 || dictionary.IndexOf("/Fl "u8) >= 0;

    private static ReadOnlySpan<byte> DictionaryBefore(ReadOnlySpan<byte> before) => before.LastIndexOf(" obj"u8) is >= 0 and var start ? before[start..] : before;

    private static bool IsEncrypted(ReadOnlySpan<byte> bytes)
    {
        int trailer = bytes.LastIndexOf("trailer"u8);
        return (trailer >= 0 && bytes[trailer..].IndexOf("/Encrypt"u8) >= 0) || (trailer < 0 && bytes.IndexOf("/Encrypt "u8) >= 0);
    }
}
