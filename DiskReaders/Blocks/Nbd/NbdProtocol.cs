namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>
/// Numbers of the network block device protocol. Spec: nbd doc/proto.md; big-endian. Names are the specification's without its prefix
/// <c>NBD_</c>.
/// </summary>
public static class NbdProtocol
{
    public const ulong Magic = 0x4E42_444D_4147_4943;
    public const ulong IHaveOpt = 0x4948_4156_454F_5054;
    public const ulong OptionReplyMagic = 0x0003_E889_0455_65A9;
    public const uint RequestMagic = 0x2560_9513;
    public const uint SimpleReplyMagic = 0x6744_6698;
    public const uint StructuredReplyMagic = 0x668E_33EF;

    // Handshake flags, the same in both directions.
    public const ushort FlagFixedNewstyle = 1;
    public const ushort FlagNoZeroes = 2;

    public const uint OptExportName = 1;
    public const uint OptAbort = 2;
    public const uint OptList = 3;
    public const uint OptStartTls = 5;
    public const uint OptInfo = 6;
    public const uint OptGo = 7;
    public const uint OptStructuredReply = 8;
    public const uint OptListMetaContext = 9;
    public const uint OptSetMetaContext = 10;

    public const uint RepAck = 1;
    public const uint RepServer = 2;
    public const uint RepInfo = 3;
    public const uint RepMetaContext = 4;
    public const uint RepError = 0x8000_0000;
    public const uint RepErrUnsup = RepError + 1;
    public const uint RepErrPolicy = RepError + 2;
    public const uint RepErrInvalid = RepError + 3;
    public const uint RepErrTlsReqd = RepError + 5;
    public const uint RepErrUnknown = RepError + 6;
    public const uint RepErrTooBig = RepError + 9;

    public const ushort InfoExport = 0;
    public const ushort InfoBlockSize = 3;

    // Transmission flags.
    public const ushort FlagHasFlags = 1;
    public const ushort FlagReadOnly = 2;
    public const ushort FlagSendDf = 1 << 7;
    public const ushort FlagCanMultiConn = 1 << 8;

    public const ushort CmdRead = 0;
    public const ushort CmdDisc = 2;
    public const ushort CmdBlockStatus = 7;
    public const ushort CmdFlagDf = 4;
    public const ushort CmdFlagReqOne = 8;

    public const ushort ReplyFlagDone = 1;
    public const ushort ReplyNone = 0;
    public const ushort ReplyOffsetData = 1;
    public const ushort ReplyOffsetHole = 2;
    public const ushort ReplyBlockStatus = 5;
    public const ushort ReplyError = 0x8001;
    public const ushort ReplyErrorOffset = 0x8002;

    public const uint StateHole = 1;
    public const uint StateZero = 2;
    public const string BaseAllocation = "base:allocation";

    public const uint ErrPerm = 1;
    public const uint ErrIo = 5;
    public const uint ErrNoMem = 12;
    public const uint ErrInval = 22;
    public const uint ErrOverflow = 75;
    public const uint ErrNotSup = 95;
    public const uint ErrShutdown = 108;

    public const int RequestBytes = 28;

    /// <summary>"Block size constraints": what a client may assume of a server that says nothing.</summary>
    public const uint DefaultMostPayload = 32 << 20;

    /// <summary>"Values": a string has at most so many bytes.</summary>
    public const int MostString = 4096;

    /// <summary>What an error number of a reply means.</summary>
    public static string Meaning(uint error) => error switch
    {
        ErrPerm => "operation not permitted",
        ErrIo => "input/output error",
        ErrNoMem => "out of memory",
        ErrInval => "invalid argument",
        28 => "no space left",
        ErrOverflow => "value too large",
        ErrNotSup => "operation not supported",
        ErrShutdown => "the server is shutting down",
        _ => FormattableString.Invariant($"error {error}"),
    };
}
