namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>bzip2 files, one or several in a row. Blocks stand alone, so that each is a place to go on from.</summary>
internal sealed class Bzip2Unpacker : IStreamUnpacker
{
    public const string Structure = "bzip2";

    private const int ChunkBytes = 512 << 10;
    private const int MostBlockBytes = 900_000;
    private const ulong BlockMagic = 0x3141_5926_5359;
    private const ulong EndMagic = 0x1772_4538_5090;

    private readonly ScanBudget _budget;
    private readonly PackedBytes _bits;
    private readonly RentedBuffer _chunk;
    private Bzip2Block? _block;
    private int _made;
    private bool _isInMember;
    private bool _isInBlock;

    /// <param name="packed">The bzip2 file; not disposed with this.</param>
    /// <param name="budget">Memory.</param>
    public Bzip2Unpacker(IBlockSource packed, ScanBudget budget)
    {
        _budget = budget;
        _bits = new PackedBytes(packed, budget, Structure);
        _chunk = budget.Rent(ChunkBytes);
    }

    public long OutputOffset { get; private set; }

    public ReadOnlySpan<byte> Chunk => _chunk.Span[.._made];

    public long StateBytes => 40;

    public bool TryNext()
    {
        _made = 0;
        while (_made == 0)
        {
            if (!_isInBlock && !NextBlock())
            {
                return false;
            }

            _made = _block!.Give(_chunk.Span);
            OutputOffset += _made;
            if (_block.IsDone)
            {
                _isInBlock = false;
                if (~_block.Crc != _block.ExpectedCrc)
                {
                    OutputOffset -= _made;
                    _made = 0;
                    throw _bits.Corrupt("the checksum of a block differs");
                }
            }
        }

        return true;
    }

    public IUnpackState? Save(ScanBudget budget) => _isInBlock ? null : new State(OutputOffset, _bits.BitPosition, _isInMember);

    public void Restore(IUnpackState? state)
    {
        var kept = (State?)state;
        _bits.GoToBit(kept?.InputBit ?? 0);
        OutputOffset = kept?.OutputOffset ?? 0;
        _isInMember = kept?.IsInMember ?? false;
        _isInBlock = false;
        _made = 0;
    }

    public void Dispose()
    {
        _bits.Dispose();
        _chunk.Dispose();
        _block?.Dispose();
    }

    private bool NextBlock()
    {
        while (true)
        {
            if (!_isInMember)
            {
                if (_bits.IsAtEnd && OutputOffset > 0)
                {
                    return false;
                }

                Header();
            }

            ulong magic = ((ulong)_bits.Bits(24) << 24) | _bits.Bits(24);
            if (magic == BlockMagic)
            {
                _block!.Read(_bits);
                _isInBlock = true;
                return true;
            }

            if (magic != EndMagic)
            {
                throw _bits.Corrupt("neither a block nor the end");
            }

            _bits.Bits(32);
            _bits.Align();
            _isInMember = false;
        }
    }

    private void Header()
    {
        // The level is the block's size. The largest is taken for all: a later member may be of a higher level.
        if (_bits.Bits(24) != 0x425A68 || _bits.Bits(8) is not (>= '1' and <= '9'))
        {
            throw _bits.Corrupt("bad magic");
        }

        _isInMember = true;
        _block ??= new Bzip2Block(MostBlockBytes, _budget);
    }

    private sealed record State(long OutputOffset, long InputBit, bool IsInMember) : IUnpackState
    {
        public void Dispose()
        {
        }
    }
}
