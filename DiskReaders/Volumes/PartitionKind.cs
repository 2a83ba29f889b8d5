using System.Globalization;

namespace Vmsweep.DiskReaders.Volumes;

/// <summary>Common names of partition types, for people. Nothing is decided by them.</summary>
internal static class PartitionKind
{
    /// <summary>An MBR type byte, such as <c>0x07 NTFS/exFAT/HPFS</c>. Names after Andries Brouwer's list of partition identifiers.</summary>
    public static string OfMbr(byte type)
    {
        string name = type switch
        {
            0x01 => "FAT12",
            0x04 => "FAT16 below 32 MiB",
            0x05 => "extended",
            0x06 => "FAT16",
            0x07 => "NTFS/exFAT/HPFS",
            0x0B => "FAT32",
            0x0C => "FAT32 LBA",
            0x0E => "FAT16 LBA",
            0x0F => "extended LBA",
            0x11 => "hidden FAT12",
            0x14 => "hidden FAT16 below 32 MiB",
            0x16 => "hidden FAT16",
            0x17 => "hidden NTFS/exFAT/HPFS",
            0x1B => "hidden FAT32",
            0x1C => "hidden FAT32 LBA",
            0x1E => "hidden FAT16 LBA",
            0x27 => "Windows recovery",
            0x42 => "Windows dynamic disk",
            0x82 => "Linux swap or Solaris",
            0x83 => "Linux",
            0x85 => "Linux extended",
            0x8E => "Linux LVM",
            0xA5 => "FreeBSD",
            0xA6 => "OpenBSD",
            0xA8 => "macOS UFS",
            0xA9 => "NetBSD",
            0xAF => "HFS/HFS+",
            0xBF => "Solaris",
            0xEE => "GPT protective",
            0xEF => "EFI system",
            0xFB => "VMware VMFS",
            0xFC => "VMware core dump",
            0xFD => "Linux RAID",
            _ => "",
        };
        string text = "0x" + type.ToString("X2", CultureInfo.InvariantCulture);
        return name.Length == 0 ? text : $"{text} {name}";
    }

    /// <summary>A GPT type GUID, such as <c>C12A7328-F81F-11D2-BA4B-00A0C93EC93B EFI system</c>.</summary>
    public static string OfGpt(Guid type)
    {
        string text = type.ToString("D").ToUpperInvariant();
        string name = text switch
        {
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" => "EFI system",
            "024DEE41-33E7-11D3-9D69-0008C781F39F" => "MBR partition scheme",
            "21686148-6449-6E6F-744E-656564454649" => "BIOS boot",
            "E3C9E316-0B5C-4DB8-817D-F92DF00215AE" => "Microsoft reserved",
            "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7" => "Microsoft basic data",
            "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3" => "Windows LDM metadata",
            "AF9B60A0-1431-4F62-BC68-3311714A69AD" => "Windows LDM data",
            "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC" => "Windows recovery",
            "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D" => "Storage Spaces",
            "0FC63DAF-8483-4772-8E79-3D69D8477DE4" => "Linux",
            "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" => "Linux root (x86-64)",
            "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F" => "Linux swap",
            "E6D6D379-F507-44C2-A23C-238F2A3DF928" => "Linux LVM",
            "A19D880F-05FC-4D3B-A006-743F0F84911E" => "Linux RAID",
            "933AC7E1-2EB4-4F13-B844-0E14E2AEF915" => "Linux home",
            "BC13C2FF-59E6-4262-A352-B275FD6F7172" => "Linux boot",
            "CA7D7CCB-63ED-4C53-861C-1742536059CC" => "LUKS",
            "83BD6B9D-7F41-11DC-BE0B-001560B84F0F" => "FreeBSD boot",
            "516E7CB6-6ECF-11D6-8FF8-00022D09712B" => "FreeBSD UFS",
            "516E7CB5-6ECF-11D6-8FF8-00022D09712B" => "FreeBSD swap",
            "516E7CBA-6ECF-11D6-8FF8-00022D09712B" => "FreeBSD ZFS",
            "48465300-0000-11AA-AA11-00306543ECAC" => "HFS+",
            "7C3457EF-0000-11AA-AA11-00306543ECAC" => "APFS",
            "6A898CC3-1DD2-11B2-99A6-080020736631" => "ZFS",
            "AA31E02A-400F-11DB-9590-000C2911D1B8" => "VMware VMFS",
            "9D275380-40AD-11DB-BF97-000C2911D1B8" => "VMware core dump",
            _ => "",
        };
        return name.Length == 0 ? text : $"{text} {name}";
    }
}
