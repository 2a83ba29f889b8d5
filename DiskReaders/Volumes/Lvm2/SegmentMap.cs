using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>A piece of a logical volume: stripes over areas, or zeros where there are none.</summary>
/// <param name="Start">Where it begins in the volume.</param>
/// <param name="StripeBytes">Bytes in a row on one area; of no weight with one area.</param>
/// <param name="Areas">Which source, and from where on.</param>
internal sealed record Piece(long Start, long Length, long StripeBytes, IReadOnlyList<(int Source, long Offset)> Areas);

/// <summary>The pieces of a logical volume, one behind the other.</summary>
internal sealed class SegmentMap(IReadOnlyList<Piece> pieces) : IExtentMap
{
    private readonly Piece[] _pieces = [.. pieces];

    public long Length { get; } = pieces.Count == 0 ? 0 : pieces[^1].Start + pieces[^1].Length;

    public Extent Map(long offset, long count)
    {
        Piece piece = PieceOf(offset);
        long within = offset - piece.Start;
        long length = Math.Min(count, piece.Length - within);
        switch (piece.Areas.Count)
        {
            case 0:
                return new Extent(ExtentKind.Zero, length);
            case 1:
                return new Extent(ExtentKind.Data, length, piece.Areas[0].Offset + within, piece.Areas[0].Source);
            default:
                long stripe = Math.DivRem(within, piece.StripeBytes, out long inStripe);
                long row = Math.DivRem(stripe, piece.Areas.Count, out long area);
                (int source, long start) = piece.Areas[(int)area];
                return new Extent(ExtentKind.Data, Math.Min(length, piece.StripeBytes - inStripe), start + (row * piece.StripeBytes) + inStripe, source);
        }
    }

    private Piece PieceOf(long offset)
    {
        int low = 0;
        int high = _pieces.Length - 1;
        while (low < high)
        {
            int middle = (low + high + 1) >>> 1;
            if (_pieces[middle].Start <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return _pieces[low];
    }
}
