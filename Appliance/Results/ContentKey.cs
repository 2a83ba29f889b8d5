using System.Buffers.Binary;

namespace Vmsweep.Appliance.Results;

/// <summary>What a content is known by: SHA-256 and size, never a name or a time.</summary>
internal readonly record struct ContentKey(UInt128 Left, UInt128 Right, long SizeBytes)
{
    /// <summary>SHA-256, then the size, little-endian.</summary>
    public const int Bytes = 40;

    public const int HashBytes = 32;

    public static ContentKey Of(ReadOnlySpan<byte> sha256, long sizeBytes) =>
        new(BinaryPrimitives.ReadUInt128BigEndian(sha256), BinaryPrimitives.ReadUInt128BigEndian(sha256[16..]), sizeBytes);

    public static ContentKey Read(ReadOnlySpan<byte> bytes) => Of(bytes, BinaryPrimitives.ReadInt64LittleEndian(bytes[HashBytes..]));

    public void Write(Span<byte> bytes)
    {
        WriteHash(bytes);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[HashBytes..], SizeBytes);
    }

    public void WriteHash(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt128BigEndian(bytes, Left);
        BinaryPrimitives.WriteUInt128BigEndian(bytes[16..], Right);
    }
}
