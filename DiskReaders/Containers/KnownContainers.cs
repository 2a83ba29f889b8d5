using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers;

/// <summary>Image and archive formats known by signature alone, so that a file of one is never taken for a raw disk.</summary>
public static class KnownContainers
{
    // qemu docs/interop/qcow2.txt and qed_spec.txt; Metz "Expert Witness Compression Format"; Proxmox
    // vma_spec.txt; RFC 1952, 8878; PKWARE APPNOTE 4.3.
    private static readonly Signature[] Table =
    [
        Signature.Of("qed", "QED", 0, "QED\0"u8),
        Signature.Of("bochs", "Bochs growing image", 0, "Bochs Virtual HD Image"u8),
        Signature.Of("e01", "Expert Witness (E01)", 0, [0x45, 0x56, 0x46, 0x09, 0x0D, 0x0A, 0xFF, 0x00]),
        Signature.Of("e01", "Expert Witness 2 (Ex01)", 0, [0x45, 0x56, 0x46, 0x32, 0x0D, 0x0A, 0x81, 0x00]),
        Signature.Of("e01", "Expert Witness logical evidence (L01)", 0, [0x4C, 0x56, 0x46, 0x09, 0x0D, 0x0A, 0xFF, 0x00]),
        Signature.Of("aff", "Advanced Forensic Format", 0, "AFF10\r\n\0"u8),
        Signature.Of("wim", "Windows imaging format", 0, "MSWIM\0\0\0"u8),
        Signature.Of("android-sparse", "Android sparse image", 0, [0x3A, 0xFF, 0x26, 0xED]),
        Signature.Of("sparseimage", "Apple sparse image", 0, "sprs"u8),
        Signature.Of("dmg", "Apple disk image", -512, "koly"u8),
        Signature.Of("gzip", "gzip", 0, [0x1F, 0x8B, 0x08]),
        Signature.Of("compress", "compress (.Z)", 0, [0x1F, 0x9D]),
        Signature.Of("xz", "xz", 0, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]),
        Signature.Of("zstd", "Zstandard", 0, [0x28, 0xB5, 0x2F, 0xFD]),
        Signature.Of("lz4", "LZ4 frame", 0, [0x04, 0x22, 0x4D, 0x18]),
        Signature.Of("lzop", "lzop", 0, [0x89, 0x4C, 0x5A, 0x4F, 0x00, 0x0D, 0x0A, 0x1A, 0x0A]),
        Signature.Of("zip", "zip", 0, [0x50, 0x4B, 0x03, 0x04]),
        Signature.Of("zip", "zip, empty", 0, [0x50, 0x4B, 0x05, 0x06]),
        Signature.Of("7z", "7-Zip", 0, [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C]),
        Signature.Of("rar", "RAR", 0, [0x52, 0x61, 0x72, 0x21, 0x1A, 0x07]),
    ];

    /// <summary>Names of all that is recognised, for people.</summary>
    public static IEnumerable<string> Titles => [.. Table.Select(s => s.Detail), "QEMU copy on write, version 1 (qcow)", "bzip2", "tar"];

    /// <summary>What a file is, when it is an image or archive that no reader here opens; null otherwise.</summary>
    public static Recognised? Recognise(IBlockSource file) =>
        Qcow(file) ?? Signature.Find(file, Table) ?? Bzip2(file) ?? Tar(file);

    // QCowHeader: magic, version; big-endian. Versions 2 and 3 have a reader.
    private static Recognised? Qcow(IBlockSource file)
    {
        Span<byte> header = stackalloc byte[8];
        if (!file.TryRead(0, header) || !header.StartsWith("QFI"u8) || header[3] != 0xFB)
        {
            return null;
        }

        uint version = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
        return version is 2 or 3 ? null : new Recognised(version == 1 ? "qcow" : "qcow2", Fault.Unsupported, "QEMU copy on write, version " + version.ToString(CultureInfo.InvariantCulture));
    }

    private static Recognised? Bzip2(IBlockSource file)
    {
        Span<byte> header = stackalloc byte[10];
        return file.TryRead(0, header) && header.StartsWith("BZh"u8) && header[3] is >= (byte)'1' and <= (byte)'9'
            && (header[4..].SequenceEqual<byte>([0x31, 0x41, 0x59, 0x26, 0x53, 0x59]) || header[4..].SequenceEqual<byte>([0x17, 0x72, 0x45, 0x38, 0x50, 0x90]))
            ? new Recognised("bzip2", Fault.Unsupported, "bzip2")
            : null;
    }

    // POSIX ustar. An OVA begins with its .ovf (DSP0243 section 5.3). An XVA has a reader.
    private static Recognised? Tar(IBlockSource file)
    {
        Span<byte> header = stackalloc byte[262];
        if (!file.TryRead(0, header) || !header[257..].SequenceEqual("ustar"u8))
        {
            return null;
        }

        ReadOnlySpan<byte> field = header[..100];
        int end = field.IndexOf((byte)0);
        string name = Encoding.Latin1.GetString(end < 0 ? field : field[..end]);
        return name == "ova.xml" ? null
            : name.EndsWith(".ovf", StringComparison.OrdinalIgnoreCase) ? new Recognised("ova", Fault.Unsupported, "open virtual appliance (OVA)")
            : new Recognised("tar", Fault.Unsupported, "tar");
    }
}
