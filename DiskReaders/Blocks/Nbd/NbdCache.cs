namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>
/// What was read last and what is being read ahead, in segments of whole pages. Bounded in bytes; the longest unused goes first. Safe for many
/// threads.
/// </summary>
internal sealed class NbdCache : IDisposable
{
    /// <summary>What a single small read brings.</summary>
    private const int PageBytes = 64 << 10;

    /// <summary>Fits a second-level cache, so that a segment is still there when it is copied out.</summary>
    private const int MostSegmentBytes = 256 << 10;

    private readonly NbdConnections _connections;
    private readonly ScanBudget _budget;
    private readonly long _length;
    private readonly long _mostBytes;
    private readonly int _page;
    private readonly int _mostPages;
    private readonly Lock _lock = new();
    private readonly Dictionary<long, Segment> _pages = [];
    private readonly LinkedList<Segment> _byUse = [];
    private readonly NbdReadAhead _ahead;
    private long _bytes;

    public NbdCache(NbdConnections connections, ScanBudget budget, long length, long mostBytes)
    {
        _connections = connections;
        _budget = budget;
        _length = length;
        _mostBytes = mostBytes;
        long most = Math.Min(connections.Agreement.MostPayload, MostSegmentBytes);
        _page = (int)Math.Min(PageBytes, most - (most % connections.Agreement.SmallestBlock));
        _mostPages = (int)Math.Max(1, most / _page);
        _ahead = new NbdReadAhead(mostBytes / 2);
    }

    /// <summary>Fills a range that lies within the export.</summary>
    /// <exception cref="IOException">The server failed.</exception>
    public void Read(long offset, Span<byte> destination)
    {
        if (destination.IsEmpty)
        {
            return;
        }

        (long From, long To) ahead;
        lock (_lock)
        {
            ahead = _ahead.After(offset, destination.Length);
        }

        long asked = offset;
        bool retried = false;
        while (!destination.IsEmpty)
        {
            // What is wanted now is asked for first and at once; half of the cache, so that it is still there when its turn comes.
            asked = Math.Max(asked, offset);
            long wanted = Math.Min(offset + destination.Length, offset + (_mostBytes / 2));
            if (asked < wanted)
            {
                Ask(asked, wanted);
                asked = wanted;
            }

            if (ahead.To > ahead.From && wanted == offset + destination.Length)
            {
                Ask(ahead.From, Math.Min(ahead.To, _length));
                ahead = default;
            }

            Segment segment = Pin(offset);
            try
            {
                _connections.Wait(segment.Request, segment.Connection);
                int within = (int)(offset - segment.Offset);
                int count = Math.Min(destination.Length, segment.Length - within);
                segment.Buffer.Span.Slice(within, count).CopyTo(destination);
                offset += count;
                destination = destination[count..];
            }
            catch (IOException) when (segment.Request.IsBroken && !retried)
            {
                // Once again over another connection: a restarted forwarder is no fault of the storage.
                retried = true;
                Forget(segment);
            }
            catch (IOException)
            {
                Forget(segment);
                throw;
            }
            finally
            {
                Unpin(segment);
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (Segment segment in _byUse)
            {
                segment.Buffer.Dispose();
            }

            _byUse.Clear();
            _pages.Clear();
            _bytes = 0;
        }
    }

    /// <summary>Asks for what of a range is not here. Best effort: where memory is short, the reader asks again when he is there.</summary>
    private void Ask(long from, long to)
    {
        for (long page = from / _page; page * _page < to;)
        {
            lock (_lock)
            {
                if (_pages.TryGetValue(page, out Segment? there))
                {
                    page = there.LastPage + 1;
                    continue;
                }

                if (Begin(page, to, isNeeded: false) is not { } begun)
                {
                    return;
                }

                page = begun.LastPage + 1;
            }
        }
    }

    /// <summary>The segment of an offset, begun where it is not here, and kept until it is unpinned.</summary>
    private Segment Pin(long offset)
    {
        lock (_lock)
        {
            if (_pages.TryGetValue(offset / _page, out Segment? segment))
            {
                _byUse.Remove(segment.Node);
                _byUse.AddLast(segment.Node);
            }
            else
            {
                segment = Begin(offset / _page, offset + 1, isNeeded: true)!;
            }

            segment.Pins++;
            return segment;
        }
    }

    private void Unpin(Segment segment)
    {
        lock (_lock)
        {
            segment.Pins--;
            if (segment is { Pins: 0, IsForgotten: true })
            {
                Free(segment);
            }
        }
    }

    private void Forget(Segment segment)
    {
        lock (_lock)
        {
            if (!segment.IsForgotten)
            {
                Remove(segment);
            }
        }
    }

    /// <summary>Rents and sends; null where memory is short and it is not needed now. Called under the lock.</summary>
    private Segment? Begin(long page, long to, bool isNeeded)
    {
        int pages = 1;
        while (pages < _mostPages && (page + pages) * _page < to && !_pages.ContainsKey(page + pages))
        {
            pages++;
        }

        long offset = page * _page;
        int length = (int)Math.Min((long)pages * _page, _length - offset);
        if (!MakeRoom(length) && !isNeeded)
        {
            return null;
        }

        RentedBuffer buffer;
        try
        {
            buffer = _budget.Rent(length);
        }
        catch (DiskFormatException) when (!isNeeded)
        {
            return null;
        }

        var segment = new Segment(page, page + pages - 1, offset, buffer, NbdRequest.Read(offset, buffer.Memory));
        for (int i = 0; i < pages; i++)
        {
            _pages.Add(page + i, segment);
        }

        segment.Node = _byUse.AddLast(segment);
        _bytes += length;
        segment.Connection = _connections.Send(segment.Request);
        return segment;
    }

    private bool MakeRoom(int bytes)
    {
        for (LinkedListNode<Segment>? node = _byUse.First; node is not null && _bytes + bytes > _mostBytes;)
        {
            LinkedListNode<Segment>? next = node.Next;
            if (node.Value.Pins == 0 && node.Value.Request.IsDone)
            {
                Remove(node.Value);
                Free(node.Value);
            }

            node = next;
        }

        return _bytes + bytes <= _mostBytes;
    }

    private void Remove(Segment segment)
    {
        for (long page = segment.FirstPage; page <= segment.LastPage; page++)
        {
            _pages.Remove(page);
        }

        _byUse.Remove(segment.Node);
        segment.IsForgotten = true;
    }

    private void Free(Segment segment)
    {
        _bytes -= segment.Length;
        segment.Buffer.Dispose();
    }

    private sealed class Segment(long firstPage, long lastPage, long offset, RentedBuffer buffer, NbdRequest request)
    {
        public long FirstPage { get; } = firstPage;

        public long LastPage { get; } = lastPage;

        public long Offset { get; } = offset;

        public int Length { get; } = buffer.Length;

        public RentedBuffer Buffer { get; } = buffer;

        public NbdRequest Request { get; } = request;

        public NbdConnection? Connection { get; set; }

        public LinkedListNode<Segment> Node { get; set; } = null!;

        public int Pins { get; set; }

        public bool IsForgotten { get; set; }
    }
}
