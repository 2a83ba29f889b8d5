namespace Vmsweep.Signatures.Hashes;

/// <summary>Hashes of one length in one sorted array, each with the number of its label.</summary>
internal sealed class HashTable(int length)
{
    private readonly List<byte[]> _added = [];
    private readonly List<int> _addedLabels = [];
    private byte[] _hashes = [];
    private int[] _labels = [];

    public int Count => _labels.Length;

    public void Add(byte[] hash, int label)
    {
        _added.Add(hash);
        _addedLabels.Add(label);
    }

    /// <summary>Sorts what was added; of equal hashes the first stays.</summary>
    public void Finish()
    {
        int[] order = [.. Enumerable.Range(0, _added.Count)];
        Array.Sort(order, (a, b) => _added[a].AsSpan().SequenceCompareTo(_added[b]) is var c && c != 0 ? c : a.CompareTo(b));
        List<int> kept = [];
        foreach (int i in order)
        {
            if (kept.Count == 0 || !_added[kept[^1]].AsSpan().SequenceEqual(_added[i]))
            {
                kept.Add(i);
            }
        }

        _hashes = new byte[kept.Count * length];
        _labels = new int[kept.Count];
        for (int i = 0; i < kept.Count; i++)
        {
            _added[kept[i]].CopyTo(_hashes, i * length);
            _labels[i] = _addedLabels[kept[i]];
        }

        _added.Clear();
        _addedLabels.Clear();
    }

    /// <summary>The label's number, or -1.</summary>
    public int Find(ReadOnlySpan<byte> hash)
    {
        if (hash.Length != length)
        {
            return -1;
        }

        int low = 0;
        int high = _labels.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            int order = _hashes.AsSpan(middle * length, length).SequenceCompareTo(hash);
            if (order == 0)
            {
                return _labels[middle];
            }

            (low, high) = order < 0 ? (middle + 1, high) : (low, middle - 1);
        }

        return -1;
    }
}
