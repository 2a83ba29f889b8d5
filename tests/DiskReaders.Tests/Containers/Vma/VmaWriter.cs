using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.Containers.Vma;

/// <summary>Builds VMA archives byte by byte from vma_spec.txt.</summary>
[SuppressMessage("Security", "CA5351:Do Not Use Broken Cryptographic Algorithms", Justification = "the format's own checksum")]
internal sealed class VmaWriter
{
    public const int Cluster = 64 << 10;
    public const int HeaderBytes = 12_288 + 1024;

    private readonly byte[] _header = new byte[HeaderBytes];
    private readonly List<byte[]> _extents = [];
    private int _blob = 1;

    public VmaWriter()
    {
        "VMA\0"u8.CopyTo(_header);
        U32(_header, 4, 1);
        Uuid.TryWriteBytes(_header.AsSpan(8), bigEndian: true, out _);
        U32(_header, 48, 12_288);
        U32(_header, 52, 1024);
        U32(_header, 56, HeaderBytes);
    }

    public static Guid Uuid { get; } = new("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");

    public VmaWriter Device(int id, string name, long bytes)
    {
        U32(_header, 4096 + (id * 32), (uint)Blob(Encoding.UTF8.GetBytes(name + "\0")));
        BinaryPrimitives.WriteInt64BigEndian(_header.AsSpan(4096 + (id * 32) + 8), bytes);
        return this;
    }

    public VmaWriter Config(string name, string text)
    {
        U32(_header, 2044, (uint)Blob(Encoding.UTF8.GetBytes(name + "\0")));
        U32(_header, 3068, (uint)Blob(Encoding.UTF8.GetBytes(text)));
        return this;
    }

    /// <summary>One extent: clusters of whole content, of which only blocks that are not zeros are stored.</summary>
    public VmaWriter Extent(params (int Device, uint Number, byte[] Content)[] clusters)
    {
        byte[] header = new byte[512];
        "VMAE"u8.CopyTo(header);
        Uuid.TryWriteBytes(header.AsSpan(8), bigEndian: true, out _);
        List<byte> data = [];
        for (int i = 0; i < clusters.Length; i++)
        {
            int mask = 0;
            for (int block = 0; block < 16; block++)
            {
                ReadOnlySpan<byte> content = clusters[i].Content.AsSpan(block * 4096, 4096);
                if (content.ContainsAnyExcept((byte)0))
                {
                    mask |= 1 << block;
                    data.AddRange(content);
                }
            }

            BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(40 + (i * 8)), (ushort)mask);
            header[40 + (i * 8) + 3] = (byte)clusters[i].Device;
            U32(header, 40 + (i * 8) + 4, clusters[i].Number);
        }

        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(6), (ushort)(data.Count / 4096));
        MD5.HashData(header).CopyTo(header, 24);
        _extents.Add([.. header, .. data]);
        return this;
    }

    public byte[] Build()
    {
        byte[] built = [.. _header, .. _extents.SelectMany(e => e)];
        Repair(built);
        return built;
    }

    /// <summary>Recomputes the sums of the header and of every extent that can be found.</summary>
    public static void Repair(byte[] archive)
    {
        Sum(archive.AsSpan(0, HeaderBytes), 32);
        for (int at = HeaderBytes; at + 512 <= archive.Length; at += 512)
        {
            if (archive.AsSpan(at, 4).SequenceEqual("VMAE"u8))
            {
                Sum(archive.AsSpan(at, 512), 24);
            }
        }
    }

    public static void U32(byte[] bytes, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), value);

    private static void Sum(Span<byte> bytes, int at)
    {
        bytes.Slice(at, 16).Clear();
        MD5.HashData(bytes).CopyTo(bytes[at..]);
    }

    private int Blob(byte[] content)
    {
        int at = _blob;
        BinaryPrimitives.WriteUInt16LittleEndian(_header.AsSpan(12_288 + at), (ushort)content.Length);
        content.CopyTo(_header, 12_288 + at + 2);
        _blob += content.Length + 2;
        return at;
    }
}
