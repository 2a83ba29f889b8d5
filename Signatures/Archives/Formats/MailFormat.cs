using MimeKit;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Mails (EML), mailboxes (mbox) and web archives (MHTML), by MimeKit: every part that is encoded or attached.</summary>
internal sealed class MailFormat : IArchiveFormat
{
    private const int MostHeaderBytes = 64 << 10;
    private const int MostSubject = 100;

    // What the library makes of each, measured.
    private const int BytesOfPart = 1200, BytesOfHeader = 320, BytesOfMessage = 5000;

    private static readonly string[] FirstHeaders =
    [
        "received:", "return-path:", "from:", "from ", "to:", "date:", "subject:", "message-id:", "mime-version:", "content-type:", "delivered-to:", "dkim-signature:", "x-",
        "arc-", "reply-to:", "sender:", "authentication-results:", "received-spf:", "thread-topic:", "content-class:",
    ];

    public string Name => "mail";

    /// <summary>Header lines only, one of a mail first, with a type and so perhaps with parts.</summary>
    public bool Fits(ReadOnlySpan<byte> content)
    {
        if (content.Length < 32 || !char.IsAsciiLetter((char)content[0]) || !StartsAsMail(content))
        {
            return false;
        }

        ReadOnlySpan<byte> head = content[..Math.Min(content.Length, MostHeaderBytes)];
        bool isTyped = false;
        int headers = 0;
        foreach (Range range in head.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = head[range].TrimEnd((byte)'\r');
            if (line.IsEmpty)
            {
                break;
            }

            if (line[0] is (byte)' ' or (byte)'\t')
            {
                continue;
            }

            int colon = line.IndexOf((byte)':');
            if (colon <= 0 || line[..colon].ContainsAnyExceptInRange((byte)'!', (byte)'~'))
            {
                if (headers == 0 && line.StartsWith("From "u8))
                {
                    continue;
                }

                return false;
            }

            headers++;
            isTyped |= System.Text.Ascii.EqualsIgnoreCase(line[..colon], "content-type"u8) || System.Text.Ascii.EqualsIgnoreCase(line[..colon], "mime-version"u8);
        }

        return isTyped && headers >= 2;
    }

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        using IDisposable memory = sink.Reserve(TreeBytes(content.Span), "mail");
        using var stream = new SpanStream(content);
        bool isBox = content.Span.StartsWith("From "u8);

        // Persistent: parts stay where they are in the content and are decoded when they are read.
        var parser = new MimeParser(stream, isBox ? MimeFormat.Mbox : MimeFormat.Entity, persistent: true);
        do
        {
            sink.Tick();
            using MimeMessage message = parser.ParseMessage();
            if (message.Body is { } body)
            {
                ReadEntity(body, sink);
            }
        }
        while (isBox && !parser.IsEndOfStream);
    }

    /// <summary>
    /// The memory that the largest mail may take as a tree: its parts and headers, of which three bytes are enough for one. Lines of a text that only look
    /// like headers are not taken for some, unless a part's kind leaves open what its lines are.
    /// </summary>
    private static long TreeBytes(ReadOnlySpan<byte> content)
    {
        const long Basis = 1 << 20;
        bool isBox = content.StartsWith("From "u8), isDigest = Contains(content, "digest"u8);
        long largest = 0, bytes = 0;
        bool isHeader = true, isMessage = false;
        foreach (Range range in content.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = content[range].TrimEnd((byte)'\r');
            if (isBox && line.StartsWith("From "u8))
            {
                largest = Math.Max(largest, bytes);
                (bytes, isHeader, isMessage) = (0, true, false);
            }
            else if (line.StartsWith("--"u8))
            {
                bytes += BytesOfPart;
                (isHeader, isMessage) = (true, false);
            }
            else if (line.IsEmpty)
            {
                // Behind the headers of a message's part come those of the message.
                bytes += isMessage ? BytesOfMessage : 0;
                (isHeader, isMessage) = (isMessage, false);
            }
            else if (isHeader || isDigest)
            {
                bytes += BytesOfHeader + line.Length;
                isMessage |= Contains(line, "message"u8) || Contains(line, "rfc822"u8);
            }
        }

        return Basis + Math.Max(largest, bytes);
    }

    private static bool Contains(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> lowerCase)
    {
        int at = 0;
        while (bytes.Length - at >= lowerCase.Length)
        {
            int next = bytes[at..].IndexOfAny(lowerCase[0], (byte)(lowerCase[0] - 32));
            if (next < 0 || bytes.Length - at - next < lowerCase.Length)
            {
                return false;
            }

            at += next;
            if (System.Text.Ascii.EqualsIgnoreCase(bytes.Slice(at, lowerCase.Length), lowerCase))
            {
                return true;
            }

            at++;
        }

        return false;
    }

    private static bool StartsAsMail(ReadOnlySpan<byte> content)
    {
        foreach (string first in FirstHeaders)
        {
            if (content.Length >= first.Length && System.Text.Ascii.EqualsIgnoreCase(content[..first.Length], first))
            {
                return true;
            }
        }

        return false;
    }

    private static void ReadEntity(MimeEntity root, IMemberSink sink)
    {
        Stack<(MimeEntity Entity, string Prefix)> open = new([(root, "")]);
        int number = 0;
        while (open.TryPop(out (MimeEntity Entity, string Prefix) next))
        {
            sink.Tick();
            switch (next.Entity)
            {
                case Multipart multipart:
                    for (int i = multipart.Count - 1; i >= 0; i--)
                    {
                        open.Push((multipart[i], next.Prefix));
                    }

                    break;
                case MessagePart { Message.Body: { } body } message:
                    string subject = message.Message.Subject ?? "message";
                    open.Push((body, $"{next.Prefix}({(subject.Length <= MostSubject ? subject : subject[..MostSubject] + "…")})/"));
                    break;
                case MimePart { Content: { } data } part:
                    number++;
                    string? name = part.FileName;
                    bool isPlain = data.Encoding is ContentEncoding.SevenBit or ContentEncoding.EightBit or ContentEncoding.Default or ContentEncoding.Binary;
                    if (!isPlain || name is not null)
                    {
                        sink.Packed(next.Prefix + (name ?? $"(part {number})"), -1, data.Open);
                    }

                    break;
            }
        }
    }
}
