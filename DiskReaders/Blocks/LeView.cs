using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>A little-endian structure's bytes with its name and where it lies, so that each fault can say so.</summary>
public readonly ref struct LeView
{
    public LeView(ReadOnlySpan<byte> bytes, string structure, long offset)
    {
        Bytes = bytes;
        Structure = structure;
        Offset = offset;
    }

    public ReadOnlySpan<byte> Bytes { get; }

    /// <summary>The specification's name of the structure.</summary>
    public string Structure { get; }

    /// <summary>Byte offset of the structure in its source.</summary>
    public long Offset { get; }

    public int Length => Bytes.Length;

    public byte U8(int at) => Field(at, 1)[0];

    public ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(Field(at, 2));

    public uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(Field(at, 4));

    public ulong U64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(Field(at, 8));

    public int I32(int at) => BinaryPrimitives.ReadInt32LittleEndian(Field(at, 4));

    public long I64(int at) => BinaryPrimitives.ReadInt64LittleEndian(Field(at, 8));

    /// <summary>An unsigned 64-bit field that must fit a signed offset or length.</summary>
    public long NonNegative64(int at, string field)
    {
        ulong value = U64(at);
        Require(value <= long.MaxValue, at, field);
        return (long)value;
    }

    /// <summary>Microsoft's mixed-endian GUID.</summary>
    public Guid MixedGuid(int at) => new(Field(at, 16));

    /// <summary>The bytes from <paramref name="at"/>, all inside the structure.</summary>
    public ReadOnlySpan<byte> Field(int at, int length)
    {
        if ((uint)at > (uint)Bytes.Length || (uint)length > (uint)(Bytes.Length - at))
        {
            throw new DiskFormatException(Fault.Truncated, Structure, Offset, $"field of {length} bytes at {at} lies outside the structure's {Bytes.Length} bytes");
        }

        return Bytes.Slice(at, length);
    }

    /// <summary>A structure inside this one.</summary>
    public LeView Inner(int at, int length, string structure) => new(Field(at, length), structure, Offset + at);

    /// <summary>Rejects the structure unless <paramref name="condition"/> holds.</summary>
    public void Require(bool condition, int at, string field)
    {
        if (!condition)
        {
            throw Corrupt(at, field);
        }
    }

    public DiskFormatException Corrupt(int at, string field) => new(Fault.Corrupt, Structure, Offset + at, $"bad {field}");

    public DiskFormatException Unsupported(int at, string field) => new(Fault.Unsupported, Structure, Offset + at, $"unsupported {field}");

    public DiskFormatException TooLarge(int at, string field) => new(Fault.Limit, Structure, Offset + at, $"{field} is over the limit");
}
