using System.Buffers;
using Vmsweep.DiskReaders.Blocks;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>Unpacks clusters of compression type zstd (RFC 8878). Keeps one decoder between uses; more threads make their own.</summary>
internal sealed class ZstdClusters : IDisposable
{
    private const string Structure = "qcow2 compressed cluster";

    // A decoder would otherwise hold a window of the size that the frame asks for; with a stable output it needs none.
    private const ZSTD_dParameter StableOutput = ZSTD_dParameter.ZSTD_d_experimentalParam2;

    private Decompressor? _idle;

    /// <summary>Fills <paramref name="cluster"/>, all of it, from the frames that <paramref name="data"/> begins with.</summary>
    public void Unpack(ReadOnlySpan<byte> data, Span<byte> cluster, long location)
    {
        Decompressor decoder = Interlocked.Exchange(ref _idle, null) ?? Create();
        try
        {
            int got = 0;
            OperationStatus status = decoder.UnwrapStream(data, cluster, out int _, out got);
            if (got != cluster.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, location, $"its zstd frame ends with {got} of {cluster.Length} bytes: {status}");
            }

            Keep(decoder);
        }
        catch (ZstdException e)
        {
            decoder.Dispose();
            throw new DiskFormatException(Fault.Corrupt, Structure, location, e.Message);
        }
        catch
        {
            decoder.Dispose();
            throw;
        }
    }

    public void Dispose() => _idle?.Dispose();

    private static Decompressor Create()
    {
        var decoder = new Decompressor();
        decoder.SetParameter(StableOutput, 1);
        return decoder;
    }

    private void Keep(Decompressor decoder) => Interlocked.Exchange(ref _idle, decoder)?.Dispose();
}
