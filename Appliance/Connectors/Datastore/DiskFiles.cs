using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Which files of a folder are taken for disks: by their extension, or without a telling one by their first bytes.</summary>
internal static class DiskFiles
{
    /// <summary>Configurations of VMs that are read. Others are told by their content.</summary>
    private static readonly string[] ReadConfigurations = [".vmx", ".vbox", ".vmc", ".vmcx"];

    /// <summary>Images of other products, which become a gap and are not passed over.</summary>
    private static readonly string[] UnreadImages = [".ex01", ".aff", ".dmg", ".sparseimage", ".bochs", ".cow", ".vdiskcache", ".vdiskdif", ".vdiskdifx"];

    /// <summary>What backups and downloads are packed with. A packed disk cannot be read in place.</summary>
    private static readonly string[] Packers = [".gz", ".zst", ".zstd", ".xz", ".lzma", ".bz2", ".lzo", ".lz4", ".z", ".7z", ".zip", ".rar"];

    /// <summary>No virtual disk and no memory is smaller; smaller files without a telling extension are not looked at.</summary>
    public const long SmallestUnnamed = 64 << 10;

    /// <summary>Btrfs's magic number is the last one looked at.</summary>
    private const int HeadBytes = (64 << 10) + 72;

    private static readonly (int Offset, byte[] Magic)[] Containers =
    [
        (0, [.. "KDMV"u8]), (0, [.. "COWD"u8]), (0, [0xBE, 0xBA, 0xFE, 0xCA, 0, 0, 0, 0]), (0, [.. "vhdxfile"u8]), (0, [.. "conectix"u8]), (0, [.. "QFI"u8, 0xFB]),
        (0, [.. "QED\0"u8]), (0x40, [0x7F, 0x10, 0xDA, 0xBE]), (0, [.. "WithoutFreeSpace"u8]), (0, [.. "WithouFreSpacExt"u8]), (0, [.. "VMA\0"u8]),
        (0, [.. "EVF\t\r\n"u8, 0xFF, 0]),
    ];

    /// <summary>Of raw disks: boot sectors, both places of a GPT, volume managers, encryption, and file systems that have no boot sector.</summary>
    private static readonly (int Offset, byte[] Magic)[] Contents =
    [
        (510, [0x55, 0xAA]), (512, [.. "EFI PART"u8]), (4096, [.. "EFI PART"u8]),
        (0, [.. "LABELONE"u8]), (512, [.. "LABELONE"u8]), (1024, [.. "LABELONE"u8]), (1536, [.. "LABELONE"u8]), (0, [0xFC, 0x4E, 0x2B, 0xA9]), (4096, [0xFC, 0x4E, 0x2B, 0xA9]),
        (0, [.. "LUKS"u8, 0xBA, 0xBE]), (0, [.. "XFSB"u8]), (0x438, [0x53, 0xEF]), (0x1_0040, [.. "_BHRfS_M"u8]),
    ];

    /// <summary>True for an image that stands for itself; the configurations that are read are looked at before.</summary>
    public static bool IsDisk(string path)
    {
        if (HasDiskExtension(path))
        {
            return !ReadConfigurations.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase);
        }

        try
        {
            return ContainerFormats.IsDescriptorName(path) || (new FileInfo(path).Length >= SmallestUnnamed && LooksLikeDisk(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Whoever may not read it learns so when it is opened.
            return Path.GetExtension(path).Length == 0;
        }
    }

    /// <summary>True when a file's name alone says that it is a disk or the configuration of a VM, perhaps packed.</summary>
    public static bool HasDiskExtension(string path)
    {
        string extension = Path.GetExtension(path);
        return Packers.Contains(extension, StringComparer.OrdinalIgnoreCase)
            ? Names(Path.GetExtension(path[..^extension.Length]))
            : Names(extension);

        static bool Names(string extension) => ((string[])[.. ReadConfigurations, .. ContainerFormats.DiskExtensions, .. UnreadImages, ".ovf"])
            .Contains(extension, StringComparer.OrdinalIgnoreCase);
    }

    private static bool LooksLikeDisk(string path)
    {
        byte[] head = new byte[HeadBytes];
        using FileStream file = File.OpenRead(path);
        int got = file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        return Has(Containers) || (file.Length % 512 == 0 && Has(Contents));

        bool Has((int Offset, byte[] Magic)[] magics) =>
            magics.Any(m => m.Offset + m.Magic.Length <= got && head.AsSpan(m.Offset).StartsWith(m.Magic));
    }
}
