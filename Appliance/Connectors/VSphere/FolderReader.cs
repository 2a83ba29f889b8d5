using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Files of a datastore as block sources: ranges of 1 to 4 MiB, fetched by at most four threads, kept in a cache that all files of a view share, and read
/// ahead where they are read in order.
/// </summary>
internal sealed class FolderReader : IDisposable
{
    private const int ChunkBytes = 1 << 20;

    /// <summary>Of one request.</summary>
    private const int MostChunksAtOnce = 4;

    /// <summary>What is read ahead of a reader that goes on in order.</summary>
    private const int MostAhead = 16;

    /// <summary>Kept at most, of all files together.</summary>
    private const int MostChunks = 96;

    private readonly RangeFetch _ranges;
    private readonly object _lock = new();
    private readonly Dictionary<(int File, long Index), Chunk> _chunks = [];
    private readonly LinkedList<Chunk> _used = new();
    private readonly LinkedList<Job> _urgent = new();
    private readonly LinkedList<Job> _ahead = new();
    private readonly Stack<byte[]> _free = new();
    private readonly List<Thread> _threads = [];
    private readonly CancellationTokenSource _stop = new();
    private int _files;
    private int _idle;
    private bool _isClosed;

    public FolderReader(RangeFetch ranges) => _ranges = ranges;

    /// <exception cref="IOException">It cannot be read.</exception>
    public IBlockSource Open(DatastorePath path) => new File(this, path, Interlocked.Increment(ref _files), _ranges.Length(path, _stop.Token));

    /// <summary>From now on, only what is allocated of a file is fetched.</summary>
    /// <param name="source">From <see cref="Open"/>.</param>
    public static void LeaveOut(IBlockSource source, AllocatedAreas areas) => ((File)source).Areas = areas;

    /// <summary>Ends all requests: a host excludes whoever else wants a file while it is read.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_isClosed)
            {
                return;
            }

            _isClosed = true;
            Monitor.PulseAll(_lock);
        }

        _stop.Cancel();
        _threads.ForEach(t => t.Join());
        _stop.Dispose();
    }

    private void Read(File file, long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            long index = Math.DivRem(offset, ChunkBytes, out long within);
            Chunk chunk = Take(file, index);
            try
            {
                int count = (int)Math.Min(destination.Length, chunk.Length - within);
                chunk.Bytes.AsSpan((int)within, count).CopyTo(destination);
                destination = destination[count..];
                offset += count;
            }
            finally
            {
                lock (_lock)
                {
                    chunk.Users--;
                }
            }
        }
    }

    /// <summary>A chunk that is there, which stays until its user lets it go.</summary>
    private Chunk Take(File file, long index)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            if (!_chunks.TryGetValue((file.Id, index), out Chunk? chunk))
            {
                chunk = Plan(file, index, 1, _urgent);
            }
            else if (!chunk.IsDone && chunk.Waiting is { List: { } list } node && list == _ahead)
            {
                // What was only expected is needed now.
                _ahead.Remove(node);
                _urgent.AddLast(node);
            }

            chunk.Users++;
            ReadAhead(file, index);
            while (!chunk.IsDone)
            {
                if (_isClosed)
                {
                    chunk.Users--;
                    throw new IOException($"{file.Path}: the view was closed");
                }

                Monitor.Wait(_lock);
            }

            if (chunk.Failure is { } failure)
            {
                chunk.Users--;
                throw new IOException(failure.Message, failure);
            }

            if (chunk.Node is { } used)
            {
                _used.Remove(used);
                _used.AddLast(used);
            }

            return chunk;
        }
    }

    private void ReadAhead(File file, long index)
    {
        // Several readers of one stream come a little out of order.
        file.InOrder = index >= file.Next - 4 && index <= file.Next + 8 ? Math.Min(file.InOrder + (index >= file.Next ? 1 : 0), 8) : 0;
        file.Next = Math.Max(index + 1, file.InOrder > 0 ? file.Next : 0);
        if (file.InOrder < 2)
        {
            file.Planned = 0;
            return;
        }

        long last = Math.Min((file.Length - 1) / ChunkBytes, index + Math.Min(1L << file.InOrder, MostAhead));
        long from = Math.Max(index + 1, file.Planned);
        while (last - from + 1 >= MostChunksAtOnce || (from <= last && last == (file.Length - 1) / ChunkBytes))
        {
            int count = 0;
            while (count < MostChunksAtOnce && from + count <= last && !_chunks.ContainsKey((file.Id, from + count)) && !file.IsLeftOut(from + count))
            {
                count++;
            }

            if (count > 0)
            {
                Plan(file, from, count, _ahead);
            }

            from += Math.Max(1, count);
        }

        file.Planned = Math.Max(file.Planned, from);
    }

    private Chunk Plan(File file, long index, int count, LinkedList<Job> list)
    {
        var job = new Job(file, [.. Enumerable.Range(0, count).Select(i => new Chunk(file.Id, index + i, (int)Math.Min(ChunkBytes, file.Length - ((index + i) * ChunkBytes))))]);
        LinkedListNode<Job> node = list.AddLast(job);
        foreach (Chunk chunk in job.Chunks)
        {
            chunk.Waiting = node;
            _chunks.Add((file.Id, chunk.Index), chunk);
        }

        if (_urgent.Count + _ahead.Count > _idle && _threads.Count < HostGate.MostReaders)
        {
            var thread = new Thread(Work) { IsBackground = true, Name = "vsphere ranges" };
            _threads.Add(thread);
            thread.Start();
        }

        Monitor.PulseAll(_lock);
        return job.Chunks[0];
    }

    private void Work()
    {
        while (Next() is { } job)
        {
            Exception? failure = null;
            byte[][] buffers = Rent(job.Chunks.Length);
            try
            {
                // Right to where it is kept: this is most of the work, and any copy shows.
                _ranges.Get(job.File.Path, job.Chunks[0].Index * ChunkBytes, [.. job.Chunks.Select((c, i) => buffers[i].AsMemory(0, c.Length))], job.File.Length, _stop.Token);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException or InvalidDataException)
            {
                failure = e;
            }

            lock (_lock)
            {
                foreach ((int i, Chunk chunk) in job.Chunks.Index())
                {
                    chunk.Failure = failure;
                    chunk.Waiting = null;
                    if (failure is null)
                    {
                        chunk.Bytes = buffers[i];
                        chunk.Node = _used.AddLast(chunk);
                    }
                    else
                    {
                        // Whoever asks again has it tried again.
                        _free.Push(buffers[i]);
                        _chunks.Remove((chunk.File, chunk.Index));
                    }

                    chunk.IsDone = true;
                }

                Evict();
                Monitor.PulseAll(_lock);
            }
        }
    }

    private byte[][] Rent(int count)
    {
        lock (_lock)
        {
            return [.. Enumerable.Range(0, count).Select(_ => _free.TryPop(out byte[]? free) ? free : new byte[ChunkBytes])];
        }
    }

    private Job? Next()
    {
        lock (_lock)
        {
            _idle++;
            try
            {
                while (!_isClosed)
                {
                    LinkedList<Job> list = _urgent.Count > 0 ? _urgent : _ahead;
                    if (list.First is { } first)
                    {
                        list.RemoveFirst();
                        return first.Value;
                    }

                    Monitor.Wait(_lock);
                }

                return null;
            }
            finally
            {
                _idle--;
            }
        }
    }

    private void Evict()
    {
        for (LinkedListNode<Chunk>? node = _used.First; node is not null && _used.Count > MostChunks;)
        {
            LinkedListNode<Chunk>? next = node.Next;
            if (node.Value.Users == 0)
            {
                _used.Remove(node);
                _chunks.Remove((node.Value.File, node.Value.Index));
                _free.Push(node.Value.Bytes);
                node.Value.Bytes = [];
            }

            node = next;
        }
    }

    private sealed record Job(File File, Chunk[] Chunks);

    private sealed class Chunk(int file, long index, int length)
    {
        public int File => file;

        public long Index => index;

        public int Length => length;

        public byte[] Bytes { get; set; } = [];

        public bool IsDone { get; set; }

        public Exception? Failure { get; set; }

        public int Users { get; set; }

        public LinkedListNode<Chunk>? Node { get; set; }

        public LinkedListNode<Job>? Waiting { get; set; }
    }

    private sealed class File(FolderReader reader, DatastorePath path, int id, long length) : IBlockSource
    {
        public DatastorePath Path => path;

        public int Id => id;

        public long Length => length;

        /// <summary>Chunk after the last that was asked for in order.</summary>
        public long Next { get; set; }

        public int InOrder { get; set; }

        /// <summary>What is stored of it; null: all.</summary>
        public AllocatedAreas? Areas { get; set; }

        /// <summary>Chunks before it were planned for.</summary>
        public long Planned { get; set; }

        public void Read(long offset, Span<byte> destination)
        {
            Bounds.Check(offset, destination.Length, length, path.ToString());
            while (!destination.IsEmpty)
            {
                StoredExtent extent = Locate(offset, destination.Length);
                Span<byte> part = destination[..(int)extent.Length];
                if (extent.IsStored)
                {
                    reader.Read(this, offset, part);
                }
                else
                {
                    part.Clear();
                }

                offset += part.Length;
                destination = destination[part.Length..];
            }
        }

        public StoredExtent Locate(long offset, long count) => Areas?.At(offset, count) is { } run
            ? new(run.IsAllocated ? ExtentKind.Data : ExtentKind.Hole, run.Length, 0, offset)
            : new(ExtentKind.Data, count, 0, offset);

        public bool IsLeftOut(long index)
        {
            long from = index * ChunkBytes, count = Math.Min(ChunkBytes, length - from);
            return Areas?.At(from, count) is { IsAllocated: false } run && run.Length == count;
        }

        public void Dispose()
        {
        }
    }
}
