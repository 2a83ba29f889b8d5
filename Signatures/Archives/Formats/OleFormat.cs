using System.Buffers.Binary;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// Compound files: old Office documents, MSI packages, Outlook messages. Each stream is a member; a macro's source is unpacked ([MS-OVBA]), an embedded
/// file taken out of its wrapping (OLE 1.0 native data), an attachment given its name ([MS-OXMSG]).
/// </summary>
internal sealed class OleFormat : IArchiveFormat
{
    private const string AttachmentStorage = "__attach_version1.0_#";
    private const string AttachmentData = "__substg1.0_37010102";

    public string Name => "ole";

    public IReadOnlyList<FileType> Types { get; } = [FileTypes.Ole];

    public bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= OleFile.HeaderBytes && FileTypes.Ole.Fits(content)
        && content[28] == 0xFE && content[29] == 0xFF;

    public void Read(ReadOnlyMemory<byte> content, IMemberSink sink)
    {
        // Tables are at most a quarter of the file, as four-byte entries for each sector or mini sector.
        using IDisposable memory = sink.Reserve(content.Length / 2, "ole tables");
        var file = new OleFile(content, sink);
        using TableMemory tables = new(sink, "ole directory");
        List<OleStream> streams = file.Streams(tables);
        foreach (OleStream stream in streams)
        {
            sink.Tick();
            if (stream.Name == "EncryptedPackage")
            {
                sink.Gap(ArchiveFault.Encrypted, "ole stream", -1, stream.Size, "an Office document behind a password", stream.Path);
                continue;
            }

            if (stream.Size > 0)
            {
                ReadStream(file, stream, NameOf(file, stream, streams), sink);
            }
        }
    }

    private static void ReadStream(OleFile file, OleStream stream, string name, IMemberSink sink)
    {
        byte[] bytes;
        IDisposable memory;
        try
        {
            memory = sink.Reserve(stream.Size, "ole stream");
        }
        catch (ArchiveException e)
        {
            sink.Gap(e.Fault, e.Structure, e.Offset, stream.Size, e.Detail, name);
            return;
        }

        using (memory)
        {
            try
            {
                bytes = file.Read(stream);
            }
            catch (ArchiveException e)
            {
                sink.Gap(e.Fault, e.Structure, e.Offset, stream.Size, e.Detail, name);
                return;
            }

            sink.Stored(name, bytes);
            if (stream.Name == "\u0001Ole10Native")
            {
                ReadNative(bytes, sink);
            }
            else if (VbaSource.Find(bytes) is >= 0 and var at)
            {
                sink.Packed($"(VBA source) {stream.Path}", -1, () => new VbaSource(bytes.AsMemory(at)));
            }
        }
    }

    /// <summary>OLE 1.0 native data: size, version, label, path, two more fields, path, size, the file.</summary>
    private static void ReadNative(byte[] bytes, IMemberSink sink)
    {
        int at = 6;
        string label = Text();
        Text();
        at += 8;
        Text();
        if (at + 4 > bytes.Length || label.Length == 0)
        {
            return;
        }

        uint size = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));
        at += 4;
        if (size > 0 && size <= bytes.Length - at)
        {
            sink.Stored(label, bytes.AsMemory(at, (int)size));
        }

        string Text()
        {
            int end = at < bytes.Length ? bytes.AsSpan(at).IndexOf((byte)0) : -1;
            if (end < 0)
            {
                at = bytes.Length;
                return "";
            }

            at += end + 1;
            return MemberNames.Of(bytes.AsSpan(at - end - 1, end));
        }
    }

    /// <summary>An attachment of a message has its name in a stream beside it.</summary>
    private static string NameOf(OleFile file, OleStream stream, List<OleStream> streams)
    {
        if (stream.Name != AttachmentData || !stream.Path.Contains(AttachmentStorage, StringComparison.Ordinal))
        {
            return stream.Path;
        }

        string folder = stream.Path[..^AttachmentData.Length];
        foreach (string property in (ReadOnlySpan<string>)["3707001F", "3704001F", "3707001E", "3704001E"])
        {
            if (streams.Find(s => s.Path == folder + "__substg1.0_" + property) is { Size: > 0 and < 2048 } named)
            {
                try
                {
                    byte[] text = file.Read(named);
                    return property.EndsWith('F') ? MemberNames.OfUtf16(text) : MemberNames.Of(text);
                }
                catch (ArchiveException)
                {
                    // Said when the stream itself is read.
                }
            }
        }

        return stream.Path;
    }
}
