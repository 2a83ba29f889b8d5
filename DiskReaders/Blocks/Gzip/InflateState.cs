namespace Vmsweep.DiskReaders.Blocks.Gzip;

/// <summary>Where a decoder stands: enough to go on from there without what came before. Two KiB less than 33 with the window.</summary>
internal sealed class InflateState : IDisposable
{
    /// <summary>History that a match may reach back to: RFC 1951, section 2.</summary>
    public const int WindowBytes = 32 << 10;

    /// <summary>Literal and length codes, then distance codes.</summary>
    public const int LengthBytes = 288 + 32;

    private readonly RentedBuffer _buffer;

    public InflateState(ScanBudget budget) => _buffer = budget.Rent(WindowBytes + LengthBytes);

    /// <summary>Unpacked bytes of the whole file before this place.</summary>
    public long OutputOffset { get; set; }

    /// <summary>The next bit of the packed file.</summary>
    public long InputBit { get; set; }

    public BlockKind Kind { get; set; }

    public bool IsLastBlock { get; set; }

    /// <summary>Bytes left of a stored block.</summary>
    public int StoredLeft { get; set; }

    public int LiteralCodes { get; set; }

    public int DistanceCodes { get; set; }

    /// <summary>Bytes of history, at the end of <see cref="Window"/>.</summary>
    public int History { get; set; }

    public Span<byte> Window => _buffer.Span[..WindowBytes];

    public Span<byte> Lengths => _buffer.Span[WindowBytes..];

    public void Dispose() => _buffer.Dispose();
}

/// <summary>What a decoder is in the middle of.</summary>
internal enum BlockKind
{
    /// <summary>Before a gzip member's header, or behind the last member.</summary>
    Member,

    /// <summary>Before a block's header.</summary>
    Header,

    Stored,

    /// <summary>Fixed or dynamic codes.</summary>
    Coded,
}
