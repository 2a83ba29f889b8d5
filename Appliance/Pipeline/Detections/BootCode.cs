using System.Security.Cryptography;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline.Detections;

/// <summary>
/// Boot code held against a list of known ones. Compared is the code alone: what differs from disk to disk (partition table, disk signature,
/// BIOS parameter block, the fields that an installer fills in) is taken as zero.
/// </summary>
internal static class BootCode
{
    private const int SectorBytes = 512;

    /// <summary>Behind it lie the disk's signature and the partition table.</summary>
    private const int DiskCodeBytes = 440;

    /// <summary>NTFS keeps its loader in the first sectors of <c>$Boot</c>, and more than one bootkit lives there.</summary>
    private const int NtfsBootBytes = 16 * SectorBytes;

    private const int MostBootBytes = 64 << 10;

    /// <summary>SHA-256 of the code, and whose it is.</summary>
    internal static readonly IReadOnlyDictionary<string, string> Known = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["1bcbf5e49516bc6fdddc738338302cce2a4a7cc71986405b1eb7f304497501d4"] = "mkfs.fat, FAT12 and FAT16",
        ["a3a66014a55d978fa354df7b71f8804d0be8c84da0eb4b6abb9618cb8e42afb6"] = "mkfs.fat, FAT32",
        ["8f210b5f2c83ca5f9202522de95cfc348a32987759425fa609d6586f83ed7521"] = "mformat, FAT12",
        ["686831d09e1068c29e0cfc6c7ecba4876ab50b5694a160590d546e73fbfa1d65"] = "mformat, FAT32",
        ["fa6e7bcc76827bfdec993a66db37910525d106780b8ad563949c222ae19d59c2"] = "mkntfs",
        ["0d0087a55200f3b6b52f32bcb39c0a267c014c4f50e90fcb95ea0039373c9d59"] = "parted",
        ["4746f74bc9b9d3d579c41988a4a29bb7ac932ad1c70470ea779ea161eb799b64"] = "SYSLINUX mbr.bin",
        ["d2a9081727f91f4c38494e52cdeb86ebd9009fead17a739effbad4011c581d1f"] = "SYSLINUX gptmbr.bin",
        ["65ba590c40fbf8527700e203f2edb461893997554b15dead6cd15ee5a8a4be51"] = "SYSLINUX altmbr.bin",
        ["7ce556639b19ba8a38c39654720790817f3ad08e2fde3304c7ad45dcd89f50ef"] = "GRUB 2 boot.img",
    };

    /// <summary>Sector 0 of a disk.</summary>
    public static void AddOfDisk(ReadOnlySpan<byte> sector, List<Detection> found)
    {
        if (sector.Length < SectorBytes)
        {
            return;
        }

        // GRUB's boot.img: a place for a parameter block, then where its core lies, the drive, and two bytes that grub-install may patch.
        Add("master boot record", sector[..DiskCodeBytes], [[], [3..90, 92..104]], found);
    }

    /// <summary>The boot sectors of a volume.</summary>
    public static void AddOfVolume(ReadOnlySpan<byte> boot, List<Detection> found)
    {
        if (boot.Length < SectorBytes)
        {
            return;
        }

        ReadOnlySpan<byte> maker = boot.Slice(3, 8);
        if (maker.SequenceEqual("NTFS    "u8))
        {
            Add("NTFS boot sectors", boot[..Math.Min(boot.Length, NtfsBootBytes)], [[3..84]], found);
        }
        else if (maker.SequenceEqual("EXFAT   "u8))
        {
            Add("exFAT boot sector", boot[..510], [[0..120]], found);
        }
        else if (boot.Slice(82, 5).SequenceEqual("FAT32"u8))
        {
            Add("FAT boot sector", boot[..510], [[3..90]], found);
        }
        else if (boot.Slice(54, 3).SequenceEqual("FAT"u8))
        {
            Add("FAT boot sector", boot[..510], [[3..62]], found);
        }
        else
        {
            Add("boot sectors", boot[..Math.Min(boot.Length, MostBootBytes)], [[]], found);
        }
    }

    /// <param name="what">For the detection.</param>
    /// <param name="code">With everything that varies.</param>
    /// <param name="forms">Ways to leave out what varies; one that is known is enough.</param>
    private static void Add(string what, ReadOnlySpan<byte> code, Range[][] forms, List<Detection> found)
    {
        string first = "";
        foreach (Range[] form in forms)
        {
            byte[] plain = code.ToArray();
            foreach (Range varying in form)
            {
                plain.AsSpan(varying).Clear();
            }

            string hash = Convert.ToHexStringLower(SHA256.HashData(plain));
            if (!plain.AsSpan().ContainsAnyExcept((byte)0) || Known.ContainsKey(hash))
            {
                return;
            }

            first = first.Length > 0 ? first : hash;
        }

        found.Add(BuiltinDetection.UnknownBootCode.Found($"{what}, SHA-256 of the code {first}"));
    }
}
