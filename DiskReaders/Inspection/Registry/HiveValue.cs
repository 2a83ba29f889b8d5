using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection.Registry;

/// <summary>"Key value", vk. Spec: "Windows registry file format specification", "Key value" and "Big data"; 20 bytes and the name.</summary>
internal sealed class HiveValue
{
    public const string Structure = "registry key value";

    private const int HeaderBytes = 20;
    private const int MostNameBytes = 32 << 10;
    private const ushort CompressedName = 1;
    private const uint InOffset = 0x8000_0000;

    /// <summary>Data above it lies in segments of this size.</summary>
    private const int SegmentBytes = 16344;

    /// <summary>No value that is asked for comes near.</summary>
    private const int MostDataBytes = 1 << 20;

    private const uint RegSz = 1;
    private const uint RegExpandSz = 2;
    private const uint RegDword = 4;
    private const uint RegMultiSz = 7;
    private const uint RegQword = 11;

    private readonly Hive _hive;
    private readonly uint _offset, _size, _data;

    private HiveValue(Hive hive, uint offset, LeView v)
    {
        v.Require(v.Field(0, 2).SequenceEqual("vk"u8), 0, "Signature");
        _hive = hive;
        _offset = offset;
        int nameBytes = v.U16(2);
        _size = v.U32(4);
        _data = v.U32(8);
        Type = v.U32(12);
        v.Require(nameBytes <= MostNameBytes && nameBytes <= v.Length - HeaderBytes, 2, "Name length");
        Name = HiveKey.NameOf(v.Field(HeaderBytes, nameBytes), (v.U16(16) & CompressedName) != 0);
    }

    /// <summary>Empty for a key's default value.</summary>
    public string Name { get; }

    public uint Type { get; }

    /// <summary>A text's characters up to its first NUL; null when the value is no text.</summary>
    public string? Text
    {
        get
        {
            if (Type is not (RegSz or RegExpandSz or RegMultiSz))
            {
                return null;
            }

            string text = Encoding.Unicode.GetString(Data());
            int end = text.IndexOf('\0', StringComparison.Ordinal);
            return end < 0 ? text : text[..end];
        }
    }

    public uint? Number => Type == RegDword && Data() is { Length: 4 } data ? BinaryPrimitives.ReadUInt32LittleEndian(data) : null;

    public ulong? LongNumber => Type == RegQword && Data() is { Length: 8 } data ? BinaryPrimitives.ReadUInt64LittleEndian(data) : null;

    public static HiveValue Read(Hive hive, uint offset)
    {
        using RentedBuffer cell = hive.Cell(offset, HeaderBytes + MostNameBytes, Structure);
        return new HiveValue(hive, offset, new LeView(cell.Span, Structure, Hive.FileOffset(offset)));
    }

    /// <summary>The value's bytes, whatever its type.</summary>
    public byte[] Data()
    {
        uint size = _size & ~InOffset;
        if ((_size & InOffset) != 0)
        {
            byte[] inside = new byte[sizeof(uint)];
            BinaryPrimitives.WriteUInt32LittleEndian(inside, _data);
            return size <= sizeof(uint) ? inside[..(int)size] : throw Bad(Fault.Corrupt, $"{size} bytes of data in a field of four");
        }

        if (size > MostDataBytes)
        {
            throw Bad(Fault.Limit, $"{size} bytes of data");
        }

        if (size == 0)
        {
            return [];
        }

        return size > SegmentBytes && _hive.HasBigData ? BigData((int)size) : Part(_data, (int)size);
    }

    private byte[] Part(uint cell, int size)
    {
        using RentedBuffer data = _hive.Cell(cell, size, "registry value data");
        return data.Length == size ? data.Span.ToArray() : throw Bad(Fault.Corrupt, $"{size} bytes of data in a cell of {data.Length}");
    }

    private byte[] BigData(int size)
    {
        const string Big = "registry big data";
        uint list;
        int count;
        using (RentedBuffer record = _hive.Cell(_data, 8, Big))
        {
            var v = new LeView(record.Span, Big, Hive.FileOffset(_data));
            v.Require(v.Field(0, 2).SequenceEqual("db"u8), 0, "Signature");
            count = v.U16(2);
            list = v.U32(4);
            v.Require(count == (size + SegmentBytes - 1) / SegmentBytes, 2, "Number of segments");
        }

        byte[] data = new byte[size];
        using RentedBuffer segments = _hive.Cell(list, count * sizeof(uint), Big);
        var offsets = new LeView(segments.Span, Big, Hive.FileOffset(list));
        for (int i = 0; i < count; i++)
        {
            int part = Math.Min(SegmentBytes, size - (i * SegmentBytes));
            Part(offsets.U32(i * sizeof(uint)), part).CopyTo(data, i * SegmentBytes);
        }

        return data;
    }

    private DiskFormatException Bad(Fault fault, string detail) => new(fault, Structure, Hive.FileOffset(_offset), detail);
}
