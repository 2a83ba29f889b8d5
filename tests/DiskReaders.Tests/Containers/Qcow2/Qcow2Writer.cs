using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using ZstdSharp;

namespace Vmsweep.DiskReaders.Tests.Containers.Qcow2;

/// <summary>
/// A small image, written field by field from the specification: header, one cluster of L1, one L2 table, then data.
/// Fields are patched afterwards by their offsets.
/// </summary>
internal sealed class Qcow2Writer
{
    public const int ClusterBits = 9;
    public const int Cluster = 1 << ClusterBits;
    public const int L1At = Cluster * 8;
    public const int L2At = Cluster * 9;
    public const int DataAt = Cluster * 64;

    private readonly List<byte> _data = [];
    private readonly List<(int Entry, ulong Value)> _entries = [];
    private readonly List<(uint Type, byte[] Data)> _extensions = [];
    private readonly int _clusterBits;

    public Qcow2Writer(int clusterBits = ClusterBits) => _clusterBits = clusterBits;

    public int Version { get; init; } = 3;

    public long Bytes { get; init; } = 8 * Cluster;

    public ulong Features { get; init; }

    public byte Compression { get; init; }

    public string Backing { get; init; } = "";

    public static byte[] Noise(int seed, int length = Cluster)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public Qcow2Writer Extension(uint type, byte[] data)
    {
        _extensions.Add((type, data));
        return this;
    }

    public Qcow2Writer Extension(uint type, string data) => Extension(type, Encoding.UTF8.GetBytes(data));

    public Qcow2Writer Entry(int cluster, ulong value)
    {
        _entries.Add((cluster, value));
        return this;
    }

    public Qcow2Writer Data(int cluster, byte[] bytes)
    {
        Align(Cluster);
        _entries.Add((cluster, (uint)(DataAt + _data.Count) | 1UL << 63));
        _data.AddRange(bytes);
        return this;
    }

    public Qcow2Writer Packed(int cluster, byte[] bytes)
    {
        byte[] packed = Compression == 0 ? Deflate(bytes) : Zstd(bytes);
        int at = DataAt + _data.Count;
        int sectors = ((at + packed.Length - 1) >> 9) - (at >> 9);
        _entries.Add((cluster, (uint)at | ((ulong)(uint)sectors << (62 - (_clusterBits - 8))) | 1UL << 62));
        _data.AddRange(packed);
        return this;
    }

    public byte[] Build()
    {
        byte[] image = new byte[DataAt + _data.Count];
        _data.CopyTo(image, DataAt);
        "QFI"u8.CopyTo(image);
        image[3] = 0xFB;
        U32(image, 4, (uint)Version);
        U32(image, 20, (uint)_clusterBits);
        U64(image, 24, (ulong)Bytes);
        U32(image, 36, 8);
        U64(image, 40, L1At);
        U64(image, 48, Cluster);
        U32(image, 56, 1);
        int at = 72;
        if (Version >= 3)
        {
            U64(image, 72, Features);
            U32(image, 96, 4);
            U32(image, 100, 112);
            image[104] = Compression;
            at = 112;
        }

        foreach ((uint type, byte[] data) in _extensions)
        {
            U32(image, at, type);
            U32(image, at + 4, (uint)data.Length);
            data.CopyTo(image, at + 8);
            at += 8 + ((data.Length + 7) & ~7);
        }

        if (Backing.Length > 0)
        {
            byte[] name = Encoding.UTF8.GetBytes(Backing);
            U64(image, 8, (ulong)at + 8);
            U32(image, 16, (uint)name.Length);
            name.CopyTo(image, at + 8);
        }

        U64(image, L1At, L2At | 1UL << 63);
        foreach ((int entry, ulong value) in _entries)
        {
            U64(image, L2At + (entry * 8), value);
        }

        return image;
    }

    public static byte[] U32(byte[] image, int at, uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(at), value);
        return image;
    }

    public static byte[] U64(byte[] image, int at, ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(at), value);
        return image;
    }

    private static byte[] Deflate(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var deflate = new DeflateStream(packed, CompressionLevel.Optimal))
        {
            deflate.Write(bytes);
        }

        return packed.ToArray();
    }

    private static byte[] Zstd(byte[] bytes)
    {
        using var compressor = new Compressor();
        return compressor.Wrap(bytes).ToArray();
    }

    private void Align(int to) => _data.AddRange(new byte[-_data.Count & (to - 1)]);
}
