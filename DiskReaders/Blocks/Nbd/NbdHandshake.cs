using System.Buffers.Binary;
using System.Text;
using static Vmsweep.DiskReaders.Blocks.Nbd.NbdProtocol;

namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>What client and server agreed on for one connection.</summary>
internal sealed record NbdAgreement(long SizeBytes, ushort Flags, bool IsStructured, IReadOnlyDictionary<uint, string> Contexts, uint SmallestBlock, uint MostPayload)
{
    public bool CanMultiConn => (Flags & FlagCanMultiConn) != 0;
}

/// <summary>The client's part of the fixed newstyle negotiation. Spec: proto.md, "Handshake phase".</summary>
/// <param name="stream">Has a read time-out, so that a silent server ends it.</param>
/// <param name="deadline">Ends a server that keeps talking.</param>
internal sealed class NbdHandshake(Stream stream, string server, Func<bool> deadline)
{
    /// <summary>Longest answer to an option that this client asks for: a context's name, or an error's text.</summary>
    private const int MostReplyBytes = 16 << 10;

    private const int MostReplies = 256;

    /// <summary>After the answer to <c>NBD_OPT_EXPORT_NAME</c>, unless both sides agreed to leave them out.</summary>
    private const int ExportNameZeroes = 124;

    private const uint SectorBytes = 512;

    private Stream _stream = stream;
    private bool _noZeroes;

    /// <summary>The stream to go on with: another one after TLS was begun.</summary>
    public Stream Stream => _stream;

    /// <param name="contexts">Metadata contexts that are wished for; a server may know fewer.</param>
    /// <exception cref="IOException">The server refuses, or speaks something else.</exception>
    public NbdAgreement Run(string export, IReadOnlyList<string> contexts, Func<Stream, Stream>? secure)
    {
        Greet();
        if (secure is not null)
        {
            Send(OptStartTls, []);
            (uint answer, byte[] why) = Reply(OptStartTls);
            if (answer != RepAck)
            {
                throw Refused("TLS", answer, why);
            }

            _stream = secure(_stream);
        }

        Send(OptStructuredReply, []);
        bool isStructured = Reply(OptStructuredReply).Type == RepAck;
        Dictionary<uint, string> agreed = isStructured && contexts.Count > 0 ? SetContexts(export, contexts) : [];
        return Go(export, isStructured, agreed);
    }

    private void Greet()
    {
        Span<byte> greeting = stackalloc byte[18];
        Read(greeting);
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting) != Magic)
        {
            throw new IOException($"{server}: no NBD server");
        }

        ushort flags = BinaryPrimitives.ReadUInt16BigEndian(greeting[16..]);
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting[8..]) != IHaveOpt || (flags & FlagFixedNewstyle) == 0)
        {
            throw new IOException($"{server}: the server speaks an older NBD than the fixed newstyle");
        }

        _noZeroes = (flags & FlagNoZeroes) != 0;
        Span<byte> own = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(own, (uint)(flags & (FlagFixedNewstyle | FlagNoZeroes)));
        _stream.Write(own);
        _stream.Flush();
    }

    private Dictionary<uint, string> SetContexts(string export, IReadOnlyList<string> contexts)
    {
        using var data = new MemoryStream();
        WriteString(data, export);
        WriteU32(data, (uint)contexts.Count);
        foreach (string context in contexts)
        {
            WriteString(data, context);
        }

        Send(OptSetMetaContext, data.ToArray());
        Dictionary<uint, string> agreed = [];
        for (int i = 0; i < MostReplies; i++)
        {
            (uint type, byte[] reply) = Reply(OptSetMetaContext);
            if (type == RepMetaContext && reply.Length > 4)
            {
                string name = Encoding.UTF8.GetString(reply, 4, reply.Length - 4);
                if (contexts.Contains(name))
                {
                    agreed[BinaryPrimitives.ReadUInt32BigEndian(reply)] = name;
                }

                continue;
            }

            // A server that knows no contexts is read without.
            return type == RepAck ? agreed : (type & RepError) != 0 ? [] : throw new IOException($"{server}: an answer of type {type} to contexts");
        }

        throw new IOException($"{server}: it answers without end");
    }

    private NbdAgreement Go(string export, bool isStructured, Dictionary<uint, string> contexts)
    {
        using var data = new MemoryStream();
        WriteString(data, export);
        data.Write([0, 1, 0, (byte)InfoBlockSize]);
        Send(OptGo, data.ToArray());
        long size = -1;
        ushort flags = 0;
        uint smallest = 1, most = DefaultMostPayload;
        for (int i = 0; i < MostReplies; i++)
        {
            (uint type, byte[] reply) = Reply(OptGo);
            switch (type)
            {
                case RepInfo when reply.Length == 12 && BinaryPrimitives.ReadUInt16BigEndian(reply) == InfoExport:
                    size = BinaryPrimitives.ReadInt64BigEndian(reply.AsSpan(2));
                    flags = BinaryPrimitives.ReadUInt16BigEndian(reply.AsSpan(10));
                    break;
                case RepInfo when reply.Length == 14 && BinaryPrimitives.ReadUInt16BigEndian(reply) == InfoBlockSize:
                    smallest = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(2));
                    most = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(10));
                    break;
                case RepInfo:
                    break;
                case RepAck when size < 0:
                    throw new IOException($"{server}: the export \"{export}\" has no size, or one beyond any disk");
                case RepAck when smallest is < 1 or > 64 << 10 || (smallest & (smallest - 1)) != 0 || most < smallest:
                    throw new IOException($"{server}: blocks of {smallest} to {most} bytes, which the protocol does not allow");
                case RepAck:
                    return new NbdAgreement(size, flags, isStructured, contexts, smallest, most);
                case RepErrUnsup when size < 0 && contexts.Count == 0:
                    return ExportName(export, isStructured);
                default:
                    throw Refused($"the export \"{export}\"", type, reply);
            }
        }

        throw new IOException($"{server}: it answers without end");
    }

    /// <summary>
    /// The option of servers that know no other, such as that of XenServer's hosts. They say nothing of block sizes: nobody takes less than a sector ill. A
    /// name that they do not know ends the connection.
    /// </summary>
    private NbdAgreement ExportName(string export, bool isStructured)
    {
        Send(OptExportName, Encoding.UTF8.GetBytes(export));
        Span<byte> info = stackalloc byte[10 + ExportNameZeroes];
        Read(_noZeroes ? info[..10] : info);
        long size = BinaryPrimitives.ReadInt64BigEndian(info);
        return size >= 0
            ? new NbdAgreement(size, BinaryPrimitives.ReadUInt16BigEndian(info[8..]), isStructured, new Dictionary<uint, string>(), size % SectorBytes == 0 ? SectorBytes : 1u, DefaultMostPayload)
            : throw new IOException($"{server}: the export \"{export}\" has no size, or one beyond any disk");
    }

    private IOException Refused(string what, uint type, byte[] reply)
    {
        string why = type switch
        {
            RepErrUnsup => "not supported",
            RepErrPolicy => "forbidden",
            RepErrTlsReqd => "it asks for TLS",
            RepErrUnknown => "there is none of this name",
            _ => FormattableString.Invariant($"answer {type:x}"),
        };
        string text = (type & RepError) != 0 && reply.Length > 0 ? ": " + Encoding.UTF8.GetString(reply, 0, Math.Min(reply.Length, MostString)) : "";
        return new IOException($"{server}: the server refuses {what}: {why}{text}");
    }

    private void Send(uint option, ReadOnlySpan<byte> data)
    {
        byte[] message = new byte[16 + data.Length];
        BinaryPrimitives.WriteUInt64BigEndian(message, IHaveOpt);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(8), option);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(12), (uint)data.Length);
        data.CopyTo(message.AsSpan(16));
        _stream.Write(message);
        _stream.Flush();
    }

    private (uint Type, byte[] Data) Reply(uint option)
    {
        Span<byte> header = stackalloc byte[20];
        Read(header);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(header[16..]);
        if (BinaryPrimitives.ReadUInt64BigEndian(header) != OptionReplyMagic || BinaryPrimitives.ReadUInt32BigEndian(header[8..]) != option || length > MostReplyBytes)
        {
            throw new IOException($"{server}: its answer to option {option} is none");
        }

        byte[] data = new byte[length];
        Read(data);
        return (BinaryPrimitives.ReadUInt32BigEndian(header[12..]), data);
    }

    private void Read(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            if (deadline())
            {
                throw new IOException($"{server}: the server did not agree in time");
            }

            int got = _stream.Read(destination);
            if (got == 0)
            {
                throw new IOException($"{server}: the server closed the connection");
            }

            destination = destination[got..];
        }
    }

    private static void WriteU32(MemoryStream to, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        to.Write(bytes);
    }

    private static void WriteString(MemoryStream to, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        if (bytes.Length > MostString)
        {
            throw new IOException($"a name of {bytes.Length} bytes is longer than NBD allows");
        }

        WriteU32(to, (uint)bytes.Length);
        to.Write(bytes);
    }
}
