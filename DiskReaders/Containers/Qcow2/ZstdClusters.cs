using Vmsweep.DiskReaders.Blocks;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>Unpacks clusters of compression type zstd (RFC 8878). Keeps one decoder between uses; more threads at once make their own.</summary>
internal sealed class ZstdClusters : IDisposable
{
    private const string Structure = "qcow2 compressed cluster";

    private Decoder? _idle;

    /// <summary>
    /// Fills <paramref name="cluster"/>, all of it, from the frames that <paramref name="data"/> begins with. The last frame must end with the
    /// cluster, as QEMU asks too.
    /// </summary>
    public void Unpack(ReadOnlySpan<byte> data, Span<byte> cluster, long location)
    {
        Decoder decoder = Interlocked.Exchange(ref _idle, null) ?? new Decoder();
        try
        {
            if (decoder.Unpack(data, cluster) is { } wrong)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, location, wrong);
            }
        }
        finally
        {
            Interlocked.Exchange(ref _idle, decoder)?.Dispose();
        }
    }

    public void Dispose() => Interlocked.Exchange(ref _idle, null)?.Dispose();

    private sealed unsafe class Decoder : IDisposable
    {
        // A decoder would otherwise hold a window of the size that the frame asks for; with a stable output it needs none.
        private const ZSTD_dParameter StableOutput = ZSTD_dParameter.ZSTD_d_experimentalParam2;

        private ZSTD_DCtx_s* _context;

        public Decoder()
        {
            _context = Methods.ZSTD_createDCtx();
            if (_context == null)
            {
                throw new DiskFormatException(Fault.Limit, "memory", -1, "no memory for a zstd decoder");
            }

            Methods.ZSTD_DCtx_setParameter(_context, StableOutput, 1);
        }

        ~Decoder() => Free();

        /// <summary>What is wrong with the data; null when the cluster is filled.</summary>
        public string? Unpack(ReadOnlySpan<byte> data, Span<byte> cluster)
        {
            Methods.ZSTD_DCtx_reset(_context, ZSTD_ResetDirective.ZSTD_reset_session_only);
            fixed (byte* from = data)
            fixed (byte* to = cluster)
            {
                var input = new ZSTD_inBuffer_s { src = from, size = (nuint)data.Length };
                var output = new ZSTD_outBuffer_s { dst = to, size = (nuint)cluster.Length };
                nuint left = 0;
                while (output.pos < output.size)
                {
                    (nuint readBefore, nuint madeBefore) = (input.pos, output.pos);
                    left = Methods.ZSTD_decompressStream(_context, &output, &input);
                    if (Methods.ZSTD_isError(left))
                    {
                        return Methods.ZSTD_getErrorName(left);
                    }

                    if (input.pos == readBefore && output.pos == madeBefore)
                    {
                        return $"its zstd frames end with {output.pos} of {output.size} bytes";
                    }
                }

                return left == 0 ? null : "its zstd frame is longer than a cluster";
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
}
