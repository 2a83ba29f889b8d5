using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>The two headers of a LUKS2 volume: "the newest valid one is used", section 3.3. The other one is reported where it is bad.</summary>
internal static class Luks2Headers
{
    /// <param name="content">The device.</param>
    /// <param name="name">Its name, for gaps.</param>
    /// <exception cref="DiskFormatException">Neither can be believed.</exception>
    public static LuksHeader Read(IBlockSource content, string name, ReadContext context)
    {
        List<(Luks2BinaryHeader Header, RentedBuffer Bytes)> sound = [];
        List<DiskFormatException> faults = [];
        try
        {
            TryRead(0, report: true);
            if (sound is [var first])
            {
                TryRead(first.Header.HeaderBytes, report: true);
            }
            else
            {
                for (long at = Luks2BinaryHeader.LeastHeaderBytes; at <= Luks2BinaryHeader.MostHeaderBytes && sound.Count == 0; at *= 2)
                {
                    TryRead(at, report: IsSecondAt(content, at));
                }
            }

            bool differ = sound is [var a, var b] && a.Header.SequenceId == b.Header.SequenceId
                && !a.Bytes.Span[Luks2BinaryHeader.Size..].SequenceEqual(b.Bytes.Span[Luks2BinaryHeader.Size..]);
            if (differ)
            {
                faults.Add(new DiskFormatException(Fault.Corrupt, Luks2Metadata.Structure, sound[1].Header.Offset, "both headers are sound and of one seqid, and say different things; the first is used"));
            }

            // Both of the same age: the first.
            foreach ((Luks2BinaryHeader header, RentedBuffer bytes) in sound.OrderByDescending(s => s.Header.SequenceId))
            {
                try
                {
                    LuksHeader read = Luks2Metadata.Read(header, bytes.Span[Luks2BinaryHeader.Size..]);
                    faults.ForEach(f => context.Gaps.Add(new CoverageGap(f, name, 0)));
                    return read;
                }
                catch (DiskFormatException e)
                {
                    faults.Add(e);
                }
            }
        }
        finally
        {
            sound.ForEach(s => s.Bytes.Dispose());
        }

        DiskFormatException worst = faults[0];
        throw faults.Count == 1 ? worst : new DiskFormatException(worst.Fault, worst.Structure, worst.Offset, string.Join("; ", faults.Select(f => $"{f.Detail} at {f.Offset}")));

        void TryRead(long offset, bool report)
        {
            try
            {
                sound.Add(Luks2BinaryHeader.Read(content, offset, context));
            }
            catch (DiskFormatException e)
            {
                if (report)
                {
                    faults.Add(e);
                }
            }
        }
    }

    /// <summary>
    /// True when only a sound second header says that this is LUKS2. Where something else was made over the volume since, a second
    /// header may be left behind: so the first one's place must hold the rest of its JSON area, or nothing.
    /// </summary>
    public static bool IsBySecond(IBlockSource content)
    {
        Span<byte> start = stackalloc byte[512];
        Span<byte> json = stackalloc byte[1];
        if (!content.TryRead(0, start) || !content.TryRead(Luks2BinaryHeader.Size, json) || (json[0] != '{' && (json[0] != 0 || start.ContainsAnyExcept((byte)0))))
        {
            return false;
        }

        for (long at = Luks2BinaryHeader.LeastHeaderBytes; at <= Luks2BinaryHeader.MostHeaderBytes; at *= 2)
        {
            if (IsSecondAt(content, at) && IsSound(content, at))
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsSecondAt(IBlockSource content, long at)
    {
        Span<byte> magic = stackalloc byte[8];
        return content.TryRead(at, magic) && LuksFormat.IsSecond(magic);
    }

    private static bool IsSound(IBlockSource content, long at)
    {
        try
        {
            Luks2BinaryHeader.Read(content, at, new ReadContext(new ScanBudget(2 * Luks2BinaryHeader.MostHeaderBytes), new GapList())).Bytes.Dispose();
            return true;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }
}
