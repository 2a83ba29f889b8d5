using System.Buffers.Binary;
using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Hashes;

/// <summary>Writes the names of a set once each, as far as the memory for remembering them goes; beyond it a name may come again.</summary>
internal sealed class LabelWriter : IDisposable
{
    private const int MostNameBytes = 256;
    private const int MostRemembered = 1 << 20;

    private readonly FileStream _file;
    private readonly Dictionary<string, uint> _known = new(StringComparer.Ordinal);
    private readonly Dictionary<string, uint>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private readonly List<byte[]> _sources = [];
    private long _length;

    public LabelWriter(string path)
    {
        _file = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16, FileOptions.DeleteOnClose);
        _lookup = _known.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    public long Bytes => _length;

    /// <summary>How many labels were written.</summary>
    public long Count { get; private set; }

    /// <summary>Label numbers are below this.</summary>
    public uint Numbers => (uint)(_length / HashSetLayout.LabelUnit);

    public IReadOnlyList<byte[]> Sources => _sources;

    public void AddSource(string name)
    {
        byte[] text = Encoding.UTF8.GetBytes(name);
        _sources.Add(text.Length > MostNameBytes ? text[..MostNameBytes] : text);
        if (_sources.Count > ushort.MaxValue)
        {
            throw new HashSetException($"more than {ushort.MaxValue} lists in one set");
        }
    }

    /// <summary>The number of the label; of the source that was added last.</summary>
    public uint NumberOf(ReadOnlySpan<byte> name, Severity severity)
    {
        if (name.Length > MostNameBytes)
        {
            name = name[..MostNameBytes];
        }

        Span<char> key = stackalloc char[MostNameBytes + 2];
        key[0] = (char)severity;
        key[1] = (char)(_sources.Count - 1);
        int length = 2 + Encoding.UTF8.GetChars(name, key[2..]);
        if (name.Contains((byte)'"'))
        {
            string plain = new string(key[2..length]).Replace("\"\"", "\"", StringComparison.Ordinal);
            plain.CopyTo(key[2..]);
            length = 2 + plain.Length;
        }

        if (_lookup.TryGetValue(key[..length], out uint number))
        {
            return number;
        }

        number = Numbers;
        Write(key[2..length], severity);
        if (_known.Count < MostRemembered)
        {
            _lookup[key[..length]] = number;
        }

        return number;
    }

    public void CopyTo(Action<ReadOnlySpan<byte>> output)
    {
        _file.Position = 0;
        byte[] part = new byte[1 << 16];
        for (int got; (got = _file.Read(part)) > 0;)
        {
            output(part.AsSpan(0, got));
        }
    }

    public void Dispose() => _file.Dispose();

    private void Write(ReadOnlySpan<char> name, Severity severity)
    {
        // A byte that is no UTF-8 becomes three.
        Span<byte> record = stackalloc byte[HashSetLayout.LabelHeadBytes + (3 * MostNameBytes) + HashSetLayout.LabelUnit];
        record.Clear();
        int length = Encoding.UTF8.GetBytes(name, record[HashSetLayout.LabelHeadBytes..]);
        record[0] = (byte)severity;
        BinaryPrimitives.WriteUInt16LittleEndian(record[2..], (ushort)(_sources.Count - 1));
        BinaryPrimitives.WriteUInt16LittleEndian(record[4..], (ushort)length);
        int bytes = (HashSetLayout.LabelHeadBytes + length + HashSetLayout.LabelUnit - 1) / HashSetLayout.LabelUnit * HashSetLayout.LabelUnit;
        _file.Write(record[..bytes]);
        _length += bytes;
        Count++;
        if (_length / HashSetLayout.LabelUnit >= uint.MaxValue)
        {
            throw new HashSetException("the names of the set are too many");
        }
    }
}
