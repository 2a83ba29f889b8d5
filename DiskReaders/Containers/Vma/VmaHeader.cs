using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vma;

/// <summary>A device of the archive.</summary>
/// <param name="Id"><c>dev_id</c>, 1 to 255.</param>
internal sealed record VmaDevice(byte Id, string Name, long SizeBytes);

/// <summary>VMA "VMA Header". Spec: pve-qemu vma_spec.txt. Big-endian; 12,288 bytes and the blob buffer, MD5 over all of it.</summary>
internal sealed class VmaHeader
{
    private const string Structure = "VMA Header";
    private const int FixedBytes = 12_288;

    // 256 configuration files of at most 64 KiB, and their names.
    private const int MostBytes = 32 << 20;
    private const int Devices = 256;
    private const int DeviceBytes = 32;
    private const int Configs = 256;

    private VmaHeader(Guid uuid, int headerBytes)
    {
        Uuid = uuid;
        HeaderBytes = headerBytes;
    }

    /// <summary><c>uuid</c>, repeated in each extent.</summary>
    public Guid Uuid { get; }

    /// <summary><c>header_size</c>: where the extents begin.</summary>
    public int HeaderBytes { get; }

    /// <summary>In the order of their ids; the saved memory of a running VM (<c>vmstate</c>) is one of them.</summary>
    public List<VmaDevice> List { get; } = [];

    public string VmName { get; private set; } = "";

    public string GuestOs { get; private set; } = "";

    /// <exception cref="DiskFormatException">The header is faulty.</exception>
    public static VmaHeader Read(IBlockSource file)
    {
        Span<byte> start = stackalloc byte[60];
        Bounds.Check(0, FixedBytes, file.Length, Structure);
        file.Read(0, start);
        var view = new BeView(start, Structure, 0);
        view.Require(view.Bytes[..4].SequenceEqual("VMA\0"u8), 0, "magic");
        uint version = view.U32(4);
        if (version != 1)
        {
            throw view.Unsupported(4, "version");
        }

        uint size = view.U32(56);
        view.Require(size > FixedBytes && size % 512 == 0, 56, "header_size");
        if (size > MostBytes)
        {
            throw view.TooLarge(56, "header_size");
        }

        Bounds.Check(0, size, file.Length, Structure);
        byte[] bytes = new byte[size];
        file.Read(0, bytes);
        if (!HasChecksum(bytes, 32))
        {
            throw view.Corrupt(32, "md5sum");
        }

        var header = new VmaHeader(view.Uuid(8), (int)size);
        header.Take(new BeView(bytes, Structure, 0));
        return header;
    }

    /// <summary>True when the 16 bytes at <paramref name="at"/> are the MD5 of all bytes, those being zeros. Clears them.</summary>
    [SuppressMessage("Security", "CA5351:Do Not Use Broken Cryptographic Algorithms", Justification = "the format's own checksum")]
    public static bool HasChecksum(Span<byte> bytes, int at)
    {
        Span<byte> given = stackalloc byte[MD5.HashSizeInBytes];
        Span<byte> field = bytes.Slice(at, MD5.HashSizeInBytes);
        field.CopyTo(given);
        field.Clear();
        Span<byte> computed = stackalloc byte[MD5.HashSizeInBytes];
        MD5.HashData(bytes, computed);
        return given.SequenceEqual(computed);
    }

    private void Take(BeView view)
    {
        uint offset = view.U32(48);
        uint size = view.U32(52);
        view.Require(offset >= FixedBytes && offset <= view.Length && size <= view.Length - offset, 48, "blob_buffer_offset");
        ReadOnlySpan<byte> blobs = view.Field((int)offset, (int)size);
        HashSet<string> names = new(StringComparer.Ordinal);
        for (int i = 1; i < Devices; i++)
        {
            // VmaDeviceInfoHeader: devname_ptr, reserved, size, reserved.
            int at = 4096 + (i * DeviceBytes);
            uint pointer = view.U32(at);
            long bytes = view.NonNegative64(at + 8, "size");
            if (pointer == 0 || bytes == 0)
            {
                continue;
            }

            view.Require(Blob(blobs, pointer) is [.., 0], at, "devname_ptr");
            string name = Text(Blob(blobs, pointer));
            view.Require(name.Length > 0 && names.Add(name), at, "devname");
            List.Add(new VmaDevice((byte)i, name, bytes));
        }

        for (int i = 0; i < Configs; i++)
        {
            uint name = view.U32(2044 + (i * 4));
            uint data = view.U32(3068 + (i * 4));
            if (name != 0 && data != 0 && Text(Blob(blobs, name)) == "qemu-server.conf")
            {
                TakeConfiguration(Text(Blob(blobs, data)));
            }
        }
    }

    /// <summary>qemu-server.conf: lines of <c>key: value</c>; those below a bracketed line are of a snapshot.</summary>
    private void TakeConfiguration(string text)
    {
        foreach (string line in text.Split('\n'))
        {
            if (line.StartsWith('['))
            {
                return;
            }

            int colon = line.IndexOf(':', StringComparison.Ordinal);
            string value = colon < 0 ? "" : line[(colon + 1)..].Trim();
            switch (colon < 0 ? "" : line[..colon])
            {
                case "name":
                    VmName = value;
                    break;
                case "ostype":
                    GuestOs = value;
                    break;
            }
        }
    }

    /// <summary>A blob: its length in 16 bits, little-endian as the one exception of the format, then its bytes; empty where there is none.</summary>
    private static ReadOnlySpan<byte> Blob(ReadOnlySpan<byte> blobs, uint pointer)
    {
        if (pointer > blobs.Length - 2)
        {
            return default;
        }

        int at = (int)pointer;
        int length = BinaryPrimitives.ReadUInt16LittleEndian(blobs[at..]);
        return length <= blobs.Length - at - 2 ? blobs.Slice(at + 2, length) : default;
    }

    private static string Text(ReadOnlySpan<byte> blob)
    {
        int end = blob.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? blob : blob[..end]);
    }
}
