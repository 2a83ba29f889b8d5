using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;
using Vmsweep.DiskReaders.GuestMemory.Qemu;

namespace Vmsweep.DiskReaders.GuestMemory.Libvirt;

/// <summary>
/// What <c>virsh save</c> and <c>managedsave</c> write: a header, the domain's XML, then QEMU's stream, which a program may have packed. In the byte order
/// of the host that wrote it, which is little-endian on PCs. As libvirt's qemu_saveimage.h defines it.
/// </summary>
internal sealed class LibvirtSaveFormat : IMemoryFormat
{
    public const int HeaderBytes = 92;

    private const string Structure = "libvirt save image";
    private const int MostXmlBytes = 64 << 20;
    private static readonly string[] Programs = ["raw", "gzip", "bzip2", "xz", "lzop", "zstd"];

    public FormatSupport Support => new(
        "libvirt save image",
        "virsh save and managedsave, raw or packed by gzip, bzip2, xz, lzop, zstd",
        "sparse images (mapped-ram); images whose saving was not finished have what was written");

    public bool Probe(IReadOnlyList<MemoryFile> files) => files[0].Bytes.HasAt(0, "LibvirtQemudSave"u8) || files[0].Bytes.HasAt(0, "LibvirtQemudPart"u8);

    public GuestMemoryImage Open(IReadOnlyList<MemoryFile> files, ReadContext context)
    {
        IBlockSource file = files[0].Bytes;
        Span<byte> head = stackalloc byte[HeaderBytes];
        file.Read(0, head);
        var header = new LeView(head, Structure, 0);
        if (header.U32(16) is not (1 or 2))
        {
            throw header.Unsupported(16, "version");
        }

        uint xmlBytes = header.U32(20);
        if (xmlBytes > MostXmlBytes)
        {
            throw header.TooLarge(20, "length of the XML");
        }

        uint program = header.U32(28);
        if (program >= Programs.Length)
        {
            throw header.Unsupported(28, "format " + program.ToString(CultureInfo.InvariantCulture));
        }

        if (header.Bytes[..16].SequenceEqual("LibvirtQemudPart"u8))
        {
            context.Gaps.Add(new CoverageGap(Fault.Truncated, "", Structure, 0, 0, "saving was not finished"));
        }

        long start = HeaderBytes + xmlBytes;
        string format = "libvirt-save/" + Programs[program];
        if (program == 0)
        {
            return QemuMemory.Open(file, start, format, null, context);
        }

        var packed = new SliceSource(file, start, Math.Max(0, file.Length - start), Structure);
        UnpackedStream stream = PackedStreams.Open(Programs[program], packed, context);
        return QemuMemory.Open(stream, 0, format, stream, context);
    }
}
