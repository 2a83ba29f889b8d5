using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Vmsweep.DiskReaders.FileSystems;

/// <summary>Unpacks zstd frames (RFC 8878).</summary>
internal sealed unsafe class ZstdDecoder : IDisposable
{
    // With a stable output the decoder needs no window of its own.
    private const ZSTD_dParameter StableOutput = ZSTD_dParameter.ZSTD_d_experimentalParam2;

    private ZSTD_DCtx_s* _context;

    /// <param name="mostWindowLog">A frame that asks for a larger window is refused.</param>
    public ZstdDecoder(int mostWindowLog)
    {
        _context = Methods.ZSTD_createDCtx();
        if (_context == null)
        {
            throw new Blocks.DiskFormatException(Blocks.Fault.Limit, "memory", -1, "no memory for a zstd decoder");
        }

        Methods.ZSTD_DCtx_setParameter(_context, StableOutput, 1);
        Methods.ZSTD_DCtx_setParameter(_context, ZSTD_dParameter.ZSTD_d_windowLogMax, mostWindowLog);
    }

    ~ZstdDecoder() => Free();

    /// <summary>Unpacks one frame, as far as <paramref name="to"/> reaches; padding may follow the frame.</summary>
    /// <param name="made">Bytes made.</param>
    /// <returns>What is wrong; null when the frame ended or the output is full.</returns>
    public string? Unpack(ReadOnlySpan<byte> from, Span<byte> to, out int made)
    {
        Methods.ZSTD_DCtx_reset(_context, ZSTD_ResetDirective.ZSTD_reset_session_only);
        fixed (byte* source = from)
        fixed (byte* target = to)
        {
            var input = new ZSTD_inBuffer_s { src = source, size = (nuint)from.Length };
            var output = new ZSTD_outBuffer_s { dst = target, size = (nuint)to.Length };
            made = 0;
            while (true)
            {
                (nuint readBefore, nuint madeBefore) = (input.pos, output.pos);
                nuint left = Methods.ZSTD_decompressStream(_context, &output, &input);
                made = (int)output.pos;
                if (Methods.ZSTD_isError(left))
                {
                    return Methods.ZSTD_getErrorName(left);
                }

                if (left == 0 || output.pos == output.size)
                {
                    return null;
                }

                if (input.pos == readBefore && output.pos == madeBefore)
                {
                    return $"its zstd frame ends after {made} bytes";
                }
            }
        }
    }

    /// <summary>Unpacks all frames there are, to their end.</summary>
    /// <returns>Bytes made; -1 when the frames are malformed, do not end where the packed bytes do, or make more than fits.</returns>
    public int UnpackAll(ReadOnlySpan<byte> from, Span<byte> to)
    {
        Methods.ZSTD_DCtx_reset(_context, ZSTD_ResetDirective.ZSTD_reset_session_only);
        fixed (byte* source = from)
        fixed (byte* target = to)
        {
            nuint made = Methods.ZSTD_decompressDCtx(_context, target, (nuint)to.Length, source, (nuint)from.Length);
            return Methods.ZSTD_isError(made) ? -1 : (int)made;
        }
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
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
