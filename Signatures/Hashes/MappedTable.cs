using System.Buffers.Binary;

namespace Vmsweep.Signatures.Hashes;

/// <summary>One sorted table in mapped memory. Whatever the bytes are, nothing outside of them is touched.</summary>
internal sealed unsafe class MappedTable
{
    /// <summary>So many entries are tried one by one around the place where a hash ought to be.</summary>
    private const int Near = 16;

    private readonly HashTableShape _shape;
    private readonly byte* _entries;
    private readonly byte* _fan;

    /// <param name="start">Where the entries begin; the fan-out table follows them.</param>
    /// <exception cref="HashSetException">The fan-out table does not rise to the number of entries.</exception>
    public MappedTable(HashTableShape shape, byte* start)
    {
        _shape = shape;
        _entries = start;
        _fan = start + shape.EntriesBytes;
        uint last = 0;
        long values = shape.FanTableBytes / 4;
        for (long i = 0; i < values; i++)
        {
            uint upTo = Fan(i);
            if (upTo < last || upTo > shape.Count)
            {
                throw new HashSetException("its index is damaged");
            }

            last = upTo;
        }

        if (last != shape.Count)
        {
            throw new HashSetException("its index is damaged");
        }
    }

    public long Count => _shape.Count;

    /// <summary>The number of the entry's label, 0 where labels have no numbers; -1 when the hash is not listed.</summary>
    public long Find(ReadOnlySpan<byte> hash)
    {
        if (_shape.Count == 0 || hash.Length != _shape.HashBytes)
        {
            return -1;
        }

        int prefix = 0;
        for (int i = 0; i < _shape.FanBytes; i++)
        {
            prefix = (prefix << 8) | hash[i];
        }

        // Both ends were checked when the file was opened; it may have been changed since, and a wild pointer would be worse than an error.
        long low = prefix == 0 ? 0 : Fan(prefix - 1);
        long high = Fan(prefix);
        if (high > _shape.Count)
        {
            throw new HashSetException("its index is damaged");
        }

        ReadOnlySpan<byte> rest = hash[_shape.FanBytes..];
        if (high - low > Near)
        {
            // Hashes are spread evenly: where one ought to be, its neighbours are on the same lines of the cache.
            long guess = low + (long)(((ulong)BinaryPrimitives.ReadUInt32BigEndian(rest) * (ulong)(high - low)) >> 32);
            int order = Compare(guess, rest);
            for (int step = 0; step < Near && order < 0; step++)
            {
                low = guess + 1;
                if (low == high)
                {
                    return -1;
                }

                order = Compare(++guess, rest);
                if (order > 0)
                {
                    return -1;
                }
            }

            for (int step = 0; step < Near && order > 0; step++)
            {
                high = guess;
                if (low == high)
                {
                    return -1;
                }

                order = Compare(--guess, rest);
                if (order < 0)
                {
                    return -1;
                }
            }

            if (order == 0)
            {
                return Label(Entry(guess)[rest.Length..]);
            }
        }

        while (low < high)
        {
            long middle = low + ((high - low) >> 1);
            int order = Compare(middle, rest);
            if (order == 0)
            {
                return Label(Entry(middle)[rest.Length..]);
            }

            (low, high) = order < 0 ? (middle + 1, high) : (low, middle);
        }

        return -1;
    }

    private int Compare(long number, ReadOnlySpan<byte> rest) => Entry(number)[..rest.Length].SequenceCompareTo(rest);

    private static long Label(ReadOnlySpan<byte> bytes)
    {
        long label = 0;
        for (int i = bytes.Length - 1; i >= 0; i--)
        {
            label = (label << 8) | bytes[i];
        }

        return label;
    }

    private uint Fan(long prefix) => BinaryPrimitives.ReadUInt32LittleEndian(new ReadOnlySpan<byte>(_fan + (prefix * 4), 4));

    private ReadOnlySpan<byte> Entry(long number) => new(_entries + (number * _shape.EntryBytes), _shape.EntryBytes);
}
