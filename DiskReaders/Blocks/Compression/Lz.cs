namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>What all decoders of the Lempel-Ziv kind do.</summary>
internal static class Lz
{
    /// <summary>Repeats what was made; the ranges may overlap. The caller has checked all bounds.</summary>
    public static void Repeat(Span<byte> to, int at, int distance, int length)
    {
        if (distance >= length)
        {
            to.Slice(at - distance, length).CopyTo(to[at..]);
            return;
        }

        if (distance == 1)
        {
            to.Slice(at, length).Fill(to[at - 1]);
            return;
        }

        // What is copied doubles: a copy of whole periods may be the source of the next.
        int made = distance;
        to.Slice(at - distance, distance).CopyTo(to[at..]);
        while (made < length)
        {
            int count = Math.Min(made, length - made);
            to.Slice(at, count).CopyTo(to[(at + made)..]);
            made += count;
        }
    }
}
