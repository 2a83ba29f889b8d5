using System.Buffers.Binary;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Outlook's winmail.dat. Spec: [MS-OXTNEF] 2.1. A row of attributes; an attachment's title comes behind its data.</summary>
internal sealed class TnefFormat : IArchiveFormat
{
    private const int HeaderBytes = 6;
    private const int AttributeBytes = 9;
    private const int ChecksumBytes = 2;
    private const uint AttachmentData = 0x0006_800F, AttachmentTitle = 0x0001_8010, Attachment = 0x0006_9005, Rendering = 0x0006_9002;

    public string Name => "tnef";

    /// <summary>The signature, a key, and the first attribute, which is the version's.</summary>
    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Tnef];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length > 32 && FileTypes.Tnef.Fits(content) && content[6] is 1 or 2 && content[8] <= 0xA0 && content[9] <= 9;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        ReadOnlyMemory<byte> data = default;
        ReadOnlyMemory<byte> properties = default;
        string title = "";
        int number = 0;
        for (int at = HeaderBytes; at <= content.Length - AttributeBytes;)
        {
            sink.Tick();
            ReadOnlySpan<byte> rest = content.Span[at..];
            if (rest[0] is not (1 or 2))
            {
                Give();
                throw ArchiveException.Corrupt("tnef attribute", at, "a level that is none");
            }

            uint id = BinaryPrimitives.ReadUInt32LittleEndian(rest[1..]);
            uint size = BinaryPrimitives.ReadUInt32LittleEndian(rest[5..]);
            at += AttributeBytes;
            int there = (int)Math.Min(size, content.Length - at);
            ReadOnlyMemory<byte> value = content.Slice(at, there);
            at = (int)Math.Min(at + (long)there + ChecksumBytes, content.Length);
            switch (id)
            {
                case Rendering:
                    Give();
                    break;
                case AttachmentData:
                    data = value;
                    break;
                case AttachmentTitle:
                    title = MemberNames.OfField(value.Span);
                    break;
                case Attachment:
                    properties = value;
                    break;
            }

            if (there < size)
            {
                Give();
                throw ArchiveException.Truncated("tnef attribute", at);
            }
        }

        Give();

        void Give()
        {
            number++;
            string name = title.Length > 0 ? title : $"(attachment {number})";
            if (!data.IsEmpty)
            {
                sink.Stored(name, data);
            }

            // An embedded message or object lies in the properties.
            if (!properties.IsEmpty && data.IsEmpty)
            {
                sink.Stored(name, properties);
            }

            (data, properties, title) = (default, default, "");
        }
    }
}
