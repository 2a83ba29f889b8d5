namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>Copies of bytes unpacked before, which may overlap themselves.</summary>
internal static class Match
{
    private const int Short = 16;

    /// <summary>
    /// Repeats <paramref name="length"/> bytes from <paramref name="distance"/> before <paramref name="to"/>. Both are within the
    /// buffer; bytes behind the match may be changed, as they are not unpacked yet.
    /// </summary>
    public static void Copy(Span<byte> buffer, int to, int distance, int length)
    {
        if (length <= Short && distance >= Short && buffer.Length - to >= Short)
        {
            // Most matches: one copy of a fixed length, whose end the next bytes write over.
            buffer.Slice(to - distance, Short).CopyTo(buffer.Slice(to, Short));
            return;
        }

        Span<byte> target = buffer.Slice(to, length);
        if (distance >= length)
        {
            buffer.Slice(to - distance, length).CopyTo(target);
        }
        else if (distance == 1)
        {
            target.Fill(buffer[to - 1]);
        }
        else
        {
            // Each copy doubles what may be copied at once.
            int from = to - distance;
            int done = 0;
            int step = distance;
            while (done < length)
            {
                int part = Math.Min(step, length - done);
                buffer.Slice(from, part).CopyTo(target[done..]);
                done += part;
                step = distance + done;
            }
        }
    }
}
