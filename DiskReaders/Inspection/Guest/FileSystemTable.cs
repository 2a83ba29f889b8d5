using System.Globalization;
using System.Text;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>A line of a file system table. Spec: Linux man-pages fstab(5).</summary>
/// <param name="Spec">The device, as it is named there.</param>
/// <param name="File">Where it is mounted.</param>
/// <param name="Subvolume">Btrfs: which part of it, by its path; empty where the path is not said.</param>
/// <param name="SubvolumeId">Btrfs: the same by its id; null where it is not said.</param>
internal sealed record MountEntry(string Spec, string File, string Subvolume, ulong? SubvolumeId);

/// <summary><c>/etc/fstab</c>, and which volumes it speaks of.</summary>
internal static class FileSystemTable
{
    public static IReadOnlyList<MountEntry> Parse(string text)
    {
        List<MountEntry> entries = [];
        foreach (string line in text.Split('\n'))
        {
            string[] fields = line.Split([' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length < 3 || fields[0].StartsWith('#') || !fields[1].StartsWith('/') || entries.Count == GuestFacts.MostItems)
            {
                continue;
            }

            string[] options = fields.Length > 3 ? fields[3].Split(',') : [];
            ulong? id = ulong.TryParse(Option(options, "subvolid="), NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) ? number : null;
            string file = Unescape(fields[1]);
            entries.Add(new MountEntry(Unescape(fields[0]).Trim('"'), file.Length > 1 ? file.TrimEnd('/') : file, Unescape(Option(options, "subvol=")), id));
        }

        return entries;
    }

    /// <summary>The volume that a device name means; null when it is none of the VM's, or the name says nothing without the running guest.</summary>
    public static InspectedVolume? VolumeOf(string spec, InspectedVm vm)
    {
        (string kind, string value) = Split(spec);
        return kind switch
        {
            "UUID" => vm.Volumes.FirstOrDefault(v => v.FileSystem?.Facts.Id is { Length: > 0 } id && id.Equals(value, StringComparison.OrdinalIgnoreCase)),
            "LABEL" => vm.Volumes.FirstOrDefault(v => v.FileSystem?.Facts.Label is { Length: > 0 } label && label == value),
            "PARTUUID" => vm.Volumes.FirstOrDefault(v => v.Partition.Id.Length > 0 && v.Partition.Id.Equals(value, StringComparison.OrdinalIgnoreCase)),
            "PARTLABEL" => vm.Volumes.FirstOrDefault(v => v.Partition.Label.Length > 0 && v.Partition.Label == value),
            "mapper" => vm.Volumes.FirstOrDefault(v => v.Name.Length > 0 && MapperName(v.Name) == value),
            "name" => vm.Volumes.FirstOrDefault(v => v.Name.Length > 0 && v.Name == value) ?? OfOnlyDisk(value, vm),
            _ => null,
        };
    }

    /// <summary>The device mapper's name of a logical volume: hyphens doubled, one between group and volume. Spec: lvm(8), "VALID NAMES".</summary>
    private static string MapperName(string name) => name.Replace("-", "--", StringComparison.Ordinal).Replace('/', '-');

    private static (string Kind, string Value) Split(string spec)
    {
        (string Prefix, string Kind)[] forms =
        [
            ("UUID=", "UUID"), ("/dev/disk/by-uuid/", "UUID"), ("LABEL=", "LABEL"), ("/dev/disk/by-label/", "LABEL"),
            ("PARTUUID=", "PARTUUID"), ("/dev/disk/by-partuuid/", "PARTUUID"), ("PARTLABEL=", "PARTLABEL"), ("/dev/disk/by-partlabel/", "PARTLABEL"),
            ("/dev/mapper/", "mapper"), ("/dev/", "name"),
        ];
        foreach ((string prefix, string kind) in forms)
        {
            if (spec.StartsWith(prefix, StringComparison.Ordinal))
            {
                return (kind, spec[prefix.Length..].Trim('"'));
            }
        }

        return ("", spec);
    }

    /// <summary>Kernels number disks as they find them: a name such as <c>sda1</c> tells something only where there is one disk.</summary>
    private static InspectedVolume? OfOnlyDisk(string name, InspectedVm vm)
    {
        string[] disks = ["sda", "vda", "xvda", "hda", "nvme0n1p", "mmcblk0p"];
        return vm.Disks is [var disk] && disks.FirstOrDefault(d => name.StartsWith(d, StringComparison.Ordinal)) is { } prefix
            && int.TryParse(name.AsSpan(prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            ? disk.Volumes.FirstOrDefault(v => v.Partition.Scheme is "mbr" or "gpt" && v.Partition.Number == number)
            : null;
    }

    private static string Option(string[] options, string name) =>
        options.LastOrDefault(o => o.StartsWith(name, StringComparison.Ordinal)) is { } option ? option[name.Length..] : "";

    /// <summary>Space, tab, newline and backslash stand as three octal digits.</summary>
    private static string Unescape(string field)
    {
        if (!field.Contains('\\', StringComparison.Ordinal))
        {
            return field;
        }

        var text = new StringBuilder(field.Length);
        for (int i = 0; i < field.Length; i++)
        {
            if (field[i] == '\\' && i + 3 < field.Length && field.AsSpan(i + 1, 3).IndexOfAnyExceptInRange('0', '7') < 0)
            {
                text.Append((char)(((field[i + 1] - '0') * 64) + ((field[i + 2] - '0') * 8) + (field[i + 3] - '0')));
                i += 3;
            }
            else
            {
                text.Append(field[i]);
            }
        }

        return text.ToString();
    }
}
