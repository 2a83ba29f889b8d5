using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Security;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using static Vmsweep.DiskReaders.Blocks.Nbd.NbdProtocol;

namespace Vmsweep.Appliance.Connectors.Nbd;

/// <summary>What a client chose.</summary>
internal sealed record NbdChoice(IBlockSource Source, bool IsStructured, bool WithAllocation);

/// <summary>The server's part of the fixed newstyle negotiation. Spec: proto.md, "Handshake phase".</summary>
internal sealed class NbdNegotiation(Stream stream, IReadOnlyDictionary<string, IBlockSource> exports, SslServerAuthenticationOptions? tls)
{
    public static readonly TimeSpan MostTime = TimeSpan.FromSeconds(30);

    /// <summary>The only context's number.</summary>
    public const uint AllocationId = 1;

    private const uint Preferred = 64 << 10;

    private const int MostOptionBytes = 64 << 10;

    private const int MostOptions = 64;

    private readonly long _started = Stopwatch.GetTimestamp();
    private bool _noZeroes;
    private bool _isStructured;
    private bool _isSecure;
    private string? _allocationOf;

    /// <summary>What to go on with: another stream where TLS was begun.</summary>
    public Stream Stream { get; private set; } = stream;

    /// <summary>Null where the client went away.</summary>
    /// <exception cref="IOException">The client broke the protocol.</exception>
    public NbdChoice? Run()
    {
        byte[] greeting = new byte[18];
        BinaryPrimitives.WriteUInt64BigEndian(greeting, Magic);
        BinaryPrimitives.WriteUInt64BigEndian(greeting.AsSpan(8), IHaveOpt);
        BinaryPrimitives.WriteUInt16BigEndian(greeting.AsSpan(16), FlagFixedNewstyle | FlagNoZeroes);
        Stream.Write(greeting);
        uint flags = BinaryPrimitives.ReadUInt32BigEndian(Read(4));
        if ((flags & FlagFixedNewstyle) == 0 || (flags & ~(uint)(FlagFixedNewstyle | FlagNoZeroes)) != 0)
        {
            throw new IOException($"client flags {flags:x}");
        }

        _noZeroes = (flags & FlagNoZeroes) != 0;
        for (int i = 0; i < MostOptions; i++)
        {
            byte[] header = Read(16);
            uint option = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8));
            uint length = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12));
            if (BinaryPrimitives.ReadUInt64BigEndian(header) != IHaveOpt || length > MostOptionBytes)
            {
                throw new IOException("what came is no option");
            }

            byte[] data = Read((int)length);
            if (tls is not null && !_isSecure && option is not (OptStartTls or OptAbort))
            {
                if (option == OptExportName)
                {
                    return null;
                }

                Reply(option, RepErrTlsReqd);
                continue;
            }

            switch (option)
            {
                case OptAbort:
                    Reply(option, RepAck);
                    return null;
                case OptStartTls when tls is not null && !_isSecure && length == 0:
                    Reply(option, RepAck);
                    var secured = new SslStream(Stream, leaveInnerStreamOpen: false);
                    Stream = secured;
                    secured.AuthenticateAsServer(tls);
                    _isSecure = true;
                    // What was agreed on in the open could have been somebody else's.
                    _isStructured = false;
                    _allocationOf = null;
                    break;
                case OptStructuredReply:
                    _isStructured = length == 0;
                    Reply(option, length == 0 ? RepAck : RepErrInvalid);
                    break;
                case OptList:
                    foreach (string name in exports.Keys)
                    {
                        byte[] text = Encoding.UTF8.GetBytes(name);
                        Reply(option, RepServer, [.. U32((uint)text.Length), .. text]);
                    }

                    Reply(option, RepAck);
                    break;
                case OptListMetaContext or OptSetMetaContext:
                    Contexts(option, data);
                    break;
                case OptInfo or OptGo:
                    if (Info(option, data) is { } chosen && option == OptGo)
                    {
                        return chosen;
                    }

                    break;
                case OptExportName:
                    return ExportName(data);
                default:
                    Reply(option, RepErrUnsup);
                    break;
            }
        }

        throw new IOException("more options than any client sends");
    }

    private void Contexts(uint option, byte[] data)
    {
        var fields = new OptionReader(data);
        string? name = fields.String();
        uint? count = fields.U32();
        List<string> queries = [];
        for (uint i = 0; i < count && fields.String() is { } query; i++)
        {
            queries.Add(query);
        }

        if (option == OptSetMetaContext)
        {
            _allocationOf = null;
        }

        if (name is null || count is null || queries.Count != count || !fields.IsAtEnd || (option == OptSetMetaContext && !_isStructured))
        {
            Reply(option, RepErrInvalid);
            return;
        }

        if (!exports.ContainsKey(name))
        {
            Reply(option, RepErrUnknown);
            return;
        }

        bool asked = queries.Contains(BaseAllocation) || (option == OptListMetaContext && (queries.Count == 0 || queries.Contains("base:")));
        if (asked)
        {
            Reply(option, RepMetaContext, [.. U32(AllocationId), .. Encoding.ASCII.GetBytes(BaseAllocation)]);
            _allocationOf = option == OptSetMetaContext ? name : _allocationOf;
        }

        Reply(option, RepAck);
    }

    private NbdChoice? Info(uint option, byte[] data)
    {
        var fields = new OptionReader(data);
        string? name = fields.String();
        int? count = fields.U16();
        for (int i = 0; i < count; i++)
        {
            if (fields.U16() is null)
            {
                count = null;
            }
        }

        if (name is null || count is null || !fields.IsAtEnd)
        {
            Reply(option, RepErrInvalid);
            return null;
        }

        if (!exports.TryGetValue(name, out IBlockSource? source))
        {
            Reply(option, RepErrUnknown);
            return null;
        }

        Reply(option, RepInfo, [0, (byte)InfoExport, .. ExportInfo(source)]);
        Reply(option, RepInfo, [0, (byte)InfoBlockSize, .. U32(1), .. U32(Preferred), .. U32(DefaultMostPayload)]);
        Reply(option, RepAck);
        return Choice(name, source);
    }

    private NbdChoice? ExportName(byte[] data)
    {
        string name = Encoding.UTF8.GetString(data);
        if (!exports.TryGetValue(name, out IBlockSource? source))
        {
            // The specification leaves no way to say so.
            return null;
        }

        Stream.Write([.. ExportInfo(source), .. _noZeroes ? [] : new byte[124]]);
        Stream.Flush();
        return Choice(name, source);
    }

    private NbdChoice Choice(string name, IBlockSource source) => new(source, _isStructured, _allocationOf == name);

    private byte[] ExportInfo(IBlockSource source)
    {
        byte[] info = new byte[10];
        BinaryPrimitives.WriteInt64BigEndian(info, source.Length);
        BinaryPrimitives.WriteUInt16BigEndian(info.AsSpan(8), (ushort)(FlagHasFlags | FlagReadOnly | FlagCanMultiConn | (_isStructured ? FlagSendDf : 0)));
        return info;
    }

    private void Reply(uint option, uint type, byte[]? data = null)
    {
        byte[] message = new byte[20 + (data?.Length ?? 0)];
        BinaryPrimitives.WriteUInt64BigEndian(message, OptionReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(8), option);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(12), type);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(16), (uint)(data?.Length ?? 0));
        data?.CopyTo(message, 20);
        Stream.Write(message);
        Stream.Flush();
    }

    private byte[] Read(int bytes)
    {
        byte[] data = new byte[bytes];
        for (int at = 0; at < bytes;)
        {
            int got = Stopwatch.GetElapsedTime(_started) < MostTime ? Stream.Read(data, at, bytes - at) : throw new IOException("the client takes too long");
            at += got > 0 ? got : throw new IOException("the client went away");
        }

        return data;
    }

    private static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    /// <summary>Fields of an option; null where they are not there.</summary>
    private sealed class OptionReader(byte[] data)
    {
        private int _at;

        public bool IsAtEnd => _at == data.Length;

        public uint? U32() => Take(4) is { } at ? BinaryPrimitives.ReadUInt32BigEndian(data.AsSpan(at)) : null;

        public ushort? U16() => Take(2) is { } at ? BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(at)) : null;

        public string? String() => U32() is { } length and <= MostString && Take((int)length) is { } at ? Encoding.UTF8.GetString(data, at, (int)length) : null;

        private int? Take(int bytes)
        {
            if (bytes > data.Length - _at)
            {
                return null;
            }

            _at += bytes;
            return _at - bytes;
        }
    }
}
