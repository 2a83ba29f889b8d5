using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>"Key node", nk. Spec: "Windows registry file format specification", "Key node"; 76 bytes and the name.</summary>
internal sealed class HiveKey
{
    public const string Structure = "registry key node";

    private const int HeaderBytes = 76;

    /// <summary>A key's name has at most 255 characters, a value's 16,383.</summary>
    private const int MostNameBytes = 512;

    private const uint None = uint.MaxValue;
    private const ushort CompressedName = 0x20;

    /// <summary>Values of one key.</summary>
    private const int MostValues = 64 << 10;

    private readonly Hive _hive;
    private readonly uint _subkeys, _subkeysList, _values, _valuesList;

    private HiveKey(Hive hive, uint offset, LeView v)
    {
        v.Require(v.Field(0, 2).SequenceEqual("nk"u8), 0, "Signature");
        _hive = hive;
        Offset = offset;
        ushort flags = v.U16(2);
        LastWritten = v.U64(4);
        _subkeys = v.U32(20);
        _subkeysList = v.U32(28);
        _values = v.U32(36);
        _valuesList = v.U32(40);
        int nameBytes = v.U16(72);
        v.Require(nameBytes <= MostNameBytes && nameBytes <= v.Length - HeaderBytes, 72, "Key name length");
        Name = NameOf(v.Field(HeaderBytes, nameBytes), (flags & CompressedName) != 0);
    }

    public uint Offset { get; }

    public string Name { get; }

    /// <summary>FILETIME.</summary>
    public ulong LastWritten { get; }

    /// <summary>The keys below, in the order of their list.</summary>
    public IEnumerable<HiveKey> Children => _subkeys == 0 || _subkeysList == None ? [] : SubkeyList.Offsets(_hive, _subkeysList, null).Select(o => Read(_hive, o));

    public IEnumerable<HiveValue> Values
    {
        get
        {
            if (_values == 0 || _valuesList == None)
            {
                yield break;
            }

            if (_values > MostValues)
            {
                throw new DiskFormatException(Fault.Limit, Structure, Hive.FileOffset(Offset) + 36, $"{_values} values");
            }

            uint[] offsets = Offsets();
            foreach (uint offset in offsets)
            {
                yield return HiveValue.Read(_hive, offset);
            }
        }
    }

    public static HiveKey Read(Hive hive, uint offset)
    {
        using RentedBuffer cell = hive.Cell(offset, HeaderBytes + MostNameBytes, Structure);
        return new HiveKey(hive, offset, new LeView(cell.Span, Structure, Hive.FileOffset(offset)));
    }

    /// <summary>A key below by its name, which has no case; null when it is not there.</summary>
    public HiveKey? Child(string name) => _subkeys == 0 || _subkeysList == None
        ? null
        : SubkeyList.Offsets(_hive, _subkeysList, name).Select(o => Read(_hive, o)).FirstOrDefault(k => k.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>A value by its name, which has no case; null when it is not there.</summary>
    public HiveValue? Value(string name) => Values.FirstOrDefault(v => v.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>A value's text; null when it is not there or no text.</summary>
    public string? Text(string name) => Value(name)?.Text;

    public uint? Number(string name) => Value(name)?.Number;

    internal static string NameOf(ReadOnlySpan<byte> bytes, bool isCompressed) =>
        isCompressed ? Encoding.Latin1.GetString(bytes) : Encoding.Unicode.GetString(bytes);

    private uint[] Offsets()
    {
        int bytes = (int)_values * sizeof(uint);
        using RentedBuffer cell = _hive.Cell(_valuesList, bytes, "registry key values list");
        var v = new LeView(cell.Span, "registry key values list", Hive.FileOffset(_valuesList));
        uint[] offsets = new uint[_values];
        for (int i = 0; i < offsets.Length; i++)
        {
            offsets[i] = v.U32(i * sizeof(uint));
        }

        return offsets;
    }
}
