using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>
/// Looks whether sectors of a dynamic disk that the bitmap calls never written hold something all the same. By the specification the
/// guest reads zeros there, and so does this product; QEMU gives the guest what is stored. Bytes that some guest sees and that are
/// not scanned must be a gap: one for a disk is enough, and then no more is looked for.
/// </summary>
internal sealed class UnwrittenSectors(ImageFile file, long dataEnd, ReadContext context)
{
    private const int StepBytes = 64 << 10;

    /// <summary>So many ranges are remembered as seen; others are looked at again when they are asked for again.</summary>
    private const int MostSeen = 1 << 16;

    private readonly HashSet<(long At, long Count)> _seen = [];
    private bool _found;

    /// <summary>Called under the map's lock.</summary>
    public void Check(long location, long count)
    {
        count = Math.Min(count, dataEnd - location);
        if (_found || count <= 0 || _seen.Contains((location, count)))
        {
            return;
        }

        using RentedBuffer buffer = context.Budget.Rent(StepBytes);
        for (long at = location; at < location + count && !_found;)
        {
            context.ThrowIfCancelled();
            long left = location + count - at;
            long hole = file.Bytes.HoleLength(at, left);
            if (hole > 0)
            {
                at += hole;
                continue;
            }

            Span<byte> part = buffer.Span[..(int)Math.Min(left, StepBytes)];
            file.Bytes.Read(at, part);
            if (part.ContainsAnyExcept((byte)0))
            {
                _found = true;
                context.Gaps.Add(new CoverageGap(
                    Fault.Corrupt, file.Name, "VHD sector bitmap", at, 0, "sectors that the bitmap calls unwritten are not zeros; they are read as zeros here, and as stored by some hypervisors"));
            }

            at += part.Length;
        }

        if (_seen.Count < MostSeen)
        {
            _seen.Add((location, count));
        }
    }
}
