using System.Globalization;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.FileSystems;

/// <summary>The same files in each file system, as raw images. Made once and kept.</summary>
internal sealed class MountedImages
{
    /// <summary>The kind whose files are packed.</summary>
    public const string Packed = "Btrfs, zstd";

    /// <summary>The file system, how it is made, how it is mounted.</summary>
    public static readonly (string Name, string Make, string Mount)[] Kinds =
    [
        ("ext4", "mke2fs -q -F -t ext4 -m 0 \"$image\"", "mount -o loop \"$image\" \"$mount\""),
        ("XFS", "mkfs.xfs -q -f \"$image\"", "mount -o loop \"$image\" \"$mount\""),
        ("Btrfs", "mkfs.btrfs -q -f \"$image\"", "mount -o loop \"$image\" \"$mount\""),
        (Packed, "mkfs.btrfs -q -f \"$image\"", "mount -o loop,compress-force=zstd \"$image\" \"$mount\""),
        ("NTFS", "mkntfs -q -Q -F \"$image\" > /dev/null 2>&1", "ntfs-3g \"$image\" \"$mount\""),
    ];

    private readonly string _root;

    private MountedImages(string root) => _root = root;

    public string this[string kind] => Path.Combine(_root, $"{kind.Replace(", ", "-", StringComparison.Ordinal).ToLowerInvariant()}.img");

    public string Scratch => Path.Combine(_root, "scratch");

    public static MountedImages Make(string work, long bytes)
    {
        var images = new MountedImages(Path.Combine(work, "file-systems-" + (bytes >> 20).ToString(CultureInfo.InvariantCulture)));
        string done = Path.Combine(images._root, "complete");
        if (!File.Exists(done))
        {
            Console.Error.WriteLine($"building the images below {images._root} (once)");
            Directory.CreateDirectory(images.Scratch);
            foreach (string tool in new[] { "mke2fs", "mkfs.xfs", "mkfs.btrfs", "mkntfs", "ntfs-3g" })
            {
                Tool.Find(tool);
            }

            string list = Path.Combine(images._root, "list");
            File.WriteAllText(list, string.Join('\0', FileSelection.Choose(bytes)) + '\0');
            foreach ((string name, string make, string mount) in Kinds)
            {
                Measured.Script($$"""
                    PATH=$PATH:/usr/sbin:/sbin; image=$1; mount=$2; size=$3
                    rm -f "$image"; truncate -s "$size" "$image"; mkdir -p "$mount"; {{make}}; {{mount}}
                    trap 'umount "$mount"' EXIT
                    tar cf - --null --hard-dereference -T "$4" 2> /dev/null | tar xf - --no-same-owner -C "$mount"
                    """, [images[name], images.Scratch + "/mount", $"{((bytes * 3 / 2) + (1L << 30)) >> 20}M", list]);
            }

            File.WriteAllText(done, "");
        }

        return images;
    }
}
