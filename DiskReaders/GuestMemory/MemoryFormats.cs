using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;
using Vmsweep.DiskReaders.GuestMemory.ElfCores;
using Vmsweep.DiskReaders.GuestMemory.Libvirt;
using Vmsweep.DiskReaders.GuestMemory.Qemu;
using Vmsweep.DiskReaders.GuestMemory.Vmware;

namespace Vmsweep.DiskReaders.GuestMemory;

/// <summary>The formats of guest memory that are read, and those that are known by name.</summary>
public static class MemoryFormats
{
    private static readonly IReadOnlyList<IMemoryFormat> Readable = [new VmwareMemoryFormat(), new LibvirtSaveFormat(), new QemuStreamFormat(), new ElfCoreFormat()];

    /// <summary>What unpacking a first chunk may hold.</summary>
    private const long HeadBudgetBytes = 128 << 20;

    // Recognised by their bytes. VirtualBox: SSM's magic; kdump: makedumpfile's IMPLEMENTATION.
    private static readonly Signature[] Known =
    [
        Signature.Of("virtualbox-sav", "VirtualBox saved state", 0, "\x7FVirtualBox SavedState"u8),
        Signature.Of("kdump", "kdump-compressed dump", 0, "KDUMP   "u8),
        Signature.Of("kdump", "diskdump", 0, "DISKDUMP"u8),
        Signature.Of("kdump", "flattened makedumpfile dump", 0, "makedumpfile\0\0\0\0"u8),
        Signature.Of("windows-crash", "Windows crash dump", 0, "PAGEDU64"u8),
        Signature.Of("windows-crash", "Windows crash dump, 32 bits", 0, "PAGEDUMP"u8),
        Signature.Of("hibernation", "Windows hibernation file", 0, "HIBR"u8),
        Signature.Of("xen-save", "Xen saved domain", 0, "LibxlFmt"u8),
        Signature.Of("lime", "LiME memory dump", 0, "EMiL"u8),
    ];

    // Known by their names: nobody has described their bytes.
    private static readonly (string Extension, string Name, string Title)[] KnownNames =
    [
        (".vmrs", "hyperv-vmrs", "Hyper-V runtime state (.vmrs)"),
        (".vsv", "vsv", "Hyper-V and Virtual PC saved state (.vsv)"),
        (".bin", "hyperv-bin", "Hyper-V saved memory (.bin)"),
        (".sav", "virtualbox-sav", "VirtualBox saved state"),
    ];

    /// <summary>Extensions by which files are taken for guest memory in a folder. <c>.bin</c> is not among them: too much else is called so.</summary>
    public static readonly IReadOnlyList<string> Extensions = [".vmem", ".vmss", ".vmsn", ".sav", ".vmrs", ".vsv"];

    /// <summary>What is read, for people.</summary>
    public static IReadOnlyList<FormatSupport> Supported => [.. Readable.Select(f => f.Support)];

    /// <summary>Names of all that is recognised, for people.</summary>
    public static IReadOnlyList<string> Titles => [.. Known.Select(s => s.Detail).Concat(KnownNames.Select(n => n.Title)).Distinct()];

    /// <summary>True when the bytes say that a file is guest memory, read or only recognised. Of a packed file the first bytes are unpacked.</summary>
    public static bool IsMemory(IBlockSource file)
    {
        IReadOnlyList<MemoryFile> files = [new MemoryFile("", file)];
        return Readable.Any(f => f.Probe(files)) || Signature.Find(file, Known) is not null || IsPackedStream(file);
    }

    /// <summary>Opens guest memory; what of it is not there is a gap.</summary>
    /// <param name="files">The file that tells, then what belongs to it. Not disposed with the answer.</param>
    /// <exception cref="DiskFormatException">There is no memory that can be read.</exception>
    public static GuestMemoryImage Open(IReadOnlyList<MemoryFile> files, ReadContext context)
    {
        if (Readable.FirstOrDefault(f => f.Probe(files)) is { } format)
        {
            return format.Open(files, context);
        }

        if (Signature.Find(files[0].Bytes, Known) is { } known)
        {
            throw new DiskFormatException(Fault.Unsupported, known.Name, 0, $"{known.Detail} is recognised but not read");
        }

        if (PackedStreams.Recognise(files[0].Bytes) is { } program)
        {
            UnpackedStream stream = PackedStreams.Open(program, files[0].Bytes, context);
            return QemuMemory.Open(stream, 0, "qemu/" + program, stream, context);
        }

        string extension = Path.GetExtension(files[0].Name);
        foreach ((string name, string shortName, string title) in KnownNames)
        {
            if (extension.Equals(name, StringComparison.OrdinalIgnoreCase))
            {
                throw new DiskFormatException(Fault.Unsupported, shortName, 0, $"{title} is recognised but not read");
            }
        }

        throw new DiskFormatException(Fault.Unsupported, "guest memory", 0, "of no format that is known");
    }

    private static bool IsPackedStream(IBlockSource file)
    {
        if (PackedStreams.Recognise(file) is not { } program)
        {
            return false;
        }

        try
        {
            Span<byte> magic = stackalloc byte[4];
            using UnpackedStream stream = PackedStreams.Open(program, file, new ReadContext(new ScanBudget(HeadBudgetBytes), new GapList(0)));
            return stream.ReadSome(0, magic) == magic.Length && magic.SequenceEqual("QEVM"u8);
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }
}
