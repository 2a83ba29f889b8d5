namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>
/// Notices who reads on where he stopped. A reader that goes on gets a window of bytes asked for ahead of him, which doubles with every
/// read; others get none.
/// </summary>
/// <param name="mostBytes">The largest window.</param>
internal sealed class NbdReadAhead(long mostBytes)
{
    /// <summary>Files in the order of the disk leave small gaps between them: whoever jumps over one still reads on.</summary>
    private const long MostSkipped = 1 << 20;

    private const long FirstWindow = 256 << 10;

    private const int Readers = 8;

    private readonly Reader[] _readers = [.. Enumerable.Range(0, Readers).Select(_ => new Reader())];
    private long _clock;

    /// <summary>What to ask for ahead of a read: from where, up to where. Not safe for many threads.</summary>
    public (long From, long To) After(long offset, long length)
    {
        long end = offset + length;
        Reader reader = _readers[0];
        foreach (Reader candidate in _readers)
        {
            if (candidate.Used > 0 && offset >= candidate.Next - MostSkipped && offset <= candidate.Next + MostSkipped && end > candidate.Next)
            {
                reader = candidate;
                reader.Window = Math.Min(mostBytes, Math.Max(FirstWindow, reader.Window * 2));
                break;
            }

            if (candidate.Used > 0 && offset >= candidate.Next - MostSkipped && end <= candidate.Next)
            {
                // A second look at what was just read.
                candidate.Used = ++_clock;
                return (end, end);
            }

            reader = candidate.Used < reader.Used ? candidate : reader;
        }

        if (reader.Used == 0 || offset < reader.Next - MostSkipped || offset > reader.Next + MostSkipped)
        {
            reader.Window = length >= FirstWindow ? FirstWindow : 0;
            reader.AskedTo = end;
        }

        reader.Used = ++_clock;
        reader.Next = end;
        reader.AskedTo = Math.Max(reader.AskedTo, end);

        // Topped up by halves, so that requests stay large.
        if (reader.AskedTo - end >= reader.Window / 2)
        {
            return (end, end);
        }

        long from = reader.AskedTo;
        reader.AskedTo = end + reader.Window;
        return (from, reader.AskedTo);
    }

    private sealed class Reader
    {
        public long Next;
        public long AskedTo;
        public long Window;
        public long Used;
    }
}
