using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Vmsweep.DiskReaders.GuestMemory;

/// <summary>Zstandard frames in a row (RFC 8878). Each frame is a place to go on from; the program writes one for all.</summary>
internal sealed unsafe class ZstdUnpacker : IStreamUnpacker
{
    public const string Structure = "zstd";

    private const int InputBytes = 128 << 10;
    private const int ChunkBytes = 256 << 10;

    /// <summary>What zstd -19 uses, four times over. A larger window is refused.</summary>
    private const int MostWindowLog = 25;

    private const long DecoderBytes = (1L << MostWindowLog) + (1 << 20);

    private readonly IBlockSource _packed;
    private readonly RentedBuffer _input;
    private readonly RentedBuffer _chunk;
    private readonly BudgetReservation _reserved;
    private ZSTD_DCtx_s* _context;
    private long _inputAt;
    private int _inputUsed;
    private int _inputFilled;
    private int _made;
    private bool _isBetweenFrames = true;

    /// <param name="packed">The zstd file; not disposed with this.</param>
    /// <param name="budget">Memory.</param>
    public ZstdUnpacker(IBlockSource packed, ScanBudget budget)
    {
        _packed = packed;
        _reserved = budget.Reserve(DecoderBytes);
        _input = budget.Rent(InputBytes);
        _chunk = budget.Rent(ChunkBytes);
        _context = Methods.ZSTD_createDCtx();
        if (_context == null)
        {
            throw new DiskFormatException(Fault.Limit, "memory", -1, "no memory for a zstd decoder");
        }

        Methods.ZSTD_DCtx_setParameter(_context, ZSTD_dParameter.ZSTD_d_windowLogMax, MostWindowLog);
    }

    ~ZstdUnpacker() => Free();

    public long OutputOffset { get; private set; }

    public ReadOnlySpan<byte> Chunk => _chunk.Span[.._made];

    public long StateBytes => 32;

    public bool TryNext()
    {
        _made = 0;
        fixed (byte* to = _chunk.Span)
        {
            var output = new ZSTD_outBuffer_s { dst = to, size = ChunkBytes };
            while (output.pos < output.size)
            {
                if (_inputUsed == _inputFilled && !Refill())
                {
                    if (!_isBetweenFrames && output.pos == 0)
                    {
                        throw new DiskFormatException(Fault.Truncated, Structure, _packed.Length, "it is cut off");
                    }

                    break;
                }

                fixed (byte* from = _input.Span)
                {
                    var input = new ZSTD_inBuffer_s { src = from, size = (nuint)_inputFilled, pos = (nuint)_inputUsed };
                    nuint left = Methods.ZSTD_decompressStream(_context, &output, &input);
                    if (Methods.ZSTD_isError(left))
                    {
                        throw new DiskFormatException(Fault.Corrupt, Structure, _inputAt + _inputUsed, Methods.ZSTD_getErrorName(left));
                    }

                    _inputUsed = (int)input.pos;
                    _isBetweenFrames = left == 0;
                    if (_isBetweenFrames && output.pos > 0)
                    {
                        // So that places to go on from are met.
                        break;
                    }
                }
            }

            _made = (int)output.pos;
        }

        OutputOffset += _made;
        return _made > 0;
    }

    public IUnpackState? Save(ScanBudget budget) => _isBetweenFrames ? new PlainState(OutputOffset, _inputAt + _inputUsed) : null;

    public void Restore(IUnpackState? state)
    {
        var kept = (PlainState?)state;
        Methods.ZSTD_DCtx_reset(_context, ZSTD_ResetDirective.ZSTD_reset_session_only);
        _inputAt = kept?.InputPosition ?? 0;
        _inputUsed = _inputFilled = 0;
        OutputOffset = kept?.OutputOffset ?? 0;
        _made = 0;
        _isBetweenFrames = true;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
        _input.Dispose();
        _chunk.Dispose();
        _reserved.Dispose();
    }

    private bool Refill()
    {
        _inputAt += _inputFilled;
        _inputUsed = 0;
        _inputFilled = (int)Math.Min(InputBytes, _packed.Length - _inputAt);
        if (_inputFilled <= 0)
        {
            _inputFilled = 0;
            return false;
        }

        _packed.Read(_inputAt, _input.Span[.._inputFilled]);
        return true;
    }

    private void Free()
    {
        if (_context != null)
        {
            Methods.ZSTD_freeDCtx(_context);
            _context = null;
        }
    }
}
