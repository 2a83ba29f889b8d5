using System.Buffers.Binary;

namespace Vmsweep.Signatures.Hashes;

/// <summary>One sorted table in mapped memory. Whatever the bytes are, nothing outside of them is touched.</summary>
internal sealed unsafe class MappedTable
{
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
        while (low < high)
        {
            long middle = low + ((high - low) >> 1);
            ReadOnlySpan<byte> entry = Entry(middle);
            int order = entry[..rest.Length].SequenceCompareTo(rest);
            if (order == 0)
            {
                return Label(entry[rest.Length..]);
            }

            (low, high) = order < 0 ? (middle + 1, high) : (low, middle);
        }

        return -1;
    }

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
