using System.Buffers.Binary;

namespace Vmsweep.Signatures.Hashes;

/// <summary>
/// Sorts entries (hash and label number) with bounded memory: what does not fit is sorted in parts, written to files and merged. Of equal
/// hashes the first that was added stays.
/// </summary>
internal sealed class HashSorter(int hashBytes, string folder, long memoryBytes) : IDisposable
{
    /// <summary>Open files at once; more are merged into one first.</summary>
    private const int MostRuns = 64;

    private const int FirstCapacity = 1024;

    /// <summary>Beside the entry its key and place while it is sorted.</summary>
    private const int SortBytes = sizeof(ulong) + sizeof(int);

    private readonly int _recordBytes = hashBytes + sizeof(uint);
    private readonly List<FileStream> _runs = [];
    private byte[] _records = [];
    private int _count;

    /// <summary>How many were added, equal ones too.</summary>
    public long Added { get; private set; }

    public void Add(ReadOnlySpan<byte> hash, uint label)
    {
        if ((_count + 1) * (long)_recordBytes > _records.Length)
        {
            MakeRoom();
        }

        Span<byte> record = _records.AsSpan(_count * _recordBytes, _recordBytes);
        hash.CopyTo(record);
        BinaryPrimitives.WriteUInt32LittleEndian(record[hashBytes..], label);
        _count++;
        Added++;
    }

    /// <summary>Gives every entry once, in order.</summary>
    /// <returns>How many they were.</returns>
    public long Merge(SpanAction entry)
    {
        if (_runs.Count == 0)
        {
            return Sorted(entry);
        }

        Spill();
        _records = [];
        return MergeRuns(entry);
    }

    public void Dispose() => _runs.ForEach(r => r.Dispose());

    private void MakeRoom()
    {
        int most = (int)Math.Clamp(memoryBytes / (_recordBytes + SortBytes), FirstCapacity, Array.MaxLength / _recordBytes);
        if (_count < most)
        {
            Array.Resize(ref _records, Math.Min(Math.Max(FirstCapacity, _count * 2), most) * _recordBytes);
            return;
        }

        Spill();
        if (_runs.Count == MostRuns)
        {
            FileStream merged = NewRun();
            MergeRuns(record => merged.Write(record));
            Dispose();
            _runs.Clear();
            _runs.Add(merged);
        }
    }

    private void Spill()
    {
        if (_count > 0)
        {
            FileStream run = NewRun();
            Sorted(record => run.Write(record));
            _runs.Add(run);
            _count = 0;
        }
    }

    private FileStream NewRun() =>
        new(Path.Combine(folder, Path.GetRandomFileName()), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 18, FileOptions.DeleteOnClose);

    private long Sorted(SpanAction entry)
    {
        ulong[] keys = new ulong[_count];
        int[] order = new int[_count];
        for (int i = 0; i < _count; i++)
        {
            keys[i] = BinaryPrimitives.ReadUInt64BigEndian(_records.AsSpan(i * _recordBytes));
            order[i] = i;
        }

        Array.Sort(keys, order);
        var byHash = Comparer<int>.Create((a, b) => Hash(a).SequenceCompareTo(Hash(b)) is var c && c != 0 ? c : a.CompareTo(b));
        long given = 0;
        for (int start = 0; start < _count;)
        {
            int end = start + 1;
            for (; end < _count && keys[end] == keys[start]; end++)
            {
            }

            if (end - start > 1)
            {
                Array.Sort(order, start, end - start, byHash);
            }

            for (int i = start; i < end; i++)
            {
                if (i == start || !Hash(order[i]).SequenceEqual(Hash(order[i - 1])))
                {
                    entry(_records.AsSpan(order[i] * _recordBytes, _recordBytes));
                    given++;
                }
            }

            start = end;
        }

        return given;
    }

    private ReadOnlySpan<byte> Hash(int number) => _records.AsSpan(number * _recordBytes, hashBytes);

    private long MergeRuns(SpanAction entry)
    {
        var heads = new byte[_runs.Count][];
        // A heap of runs, the one with the lowest hash on top; of equal ones the earliest.
        int[] heap = new int[_runs.Count];
        int open = 0;
        for (int i = 0; i < _runs.Count; i++)
        {
            heads[i] = new byte[_recordBytes];
            _runs[i].Position = 0;
            if (Next(i))
            {
                heap[open++] = i;
            }
        }

        for (int at = (open / 2) - 1; at >= 0; at--)
        {
            Sink(at);
        }

        byte[] last = new byte[hashBytes];
        long given = 0;
        while (open > 0)
        {
            int run = heap[0];
            if (given == 0 || !heads[run].AsSpan(0, hashBytes).SequenceEqual(last))
            {
                heads[run].AsSpan(0, hashBytes).CopyTo(last);
                entry(heads[run]);
                given++;
            }

            if (!Next(run))
            {
                heap[0] = heap[--open];
            }

            Sink(0);
        }

        return given;

        bool Next(int run) => _runs[run].ReadAtLeast(heads[run], _recordBytes, throwOnEndOfStream: false) == _recordBytes;

        void Sink(int at)
        {
            for (int child; (child = (2 * at) + 1) < open; at = child)
            {
                if (child + 1 < open && IsBefore(heap[child + 1], heap[child]))
                {
                    child++;
                }

                if (!IsBefore(heap[child], heap[at]))
                {
                    return;
                }

                (heap[at], heap[child]) = (heap[child], heap[at]);
            }
        }

        bool IsBefore(int a, int b)
        {
            int order = heads[a].AsSpan(0, hashBytes).SequenceCompareTo(heads[b].AsSpan(0, hashBytes));
            return order < 0 || (order == 0 && a < b);
        }
    }
}

internal delegate void SpanAction(ReadOnlySpan<byte> bytes);
