using Vmsweep.Benchmarks.Measuring;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>One small disk in every container, for measuring readers alone. Made once and kept.</summary>
internal sealed class ReaderImages
{
    private const long SizeBytes = 768L << 20;
    private const int CompressedMiB = 64;

    private readonly string _root;

    private ReaderImages(string root) => _root = root;

    /// <summary>ext4 with files of this machine.</summary>
    public string Raw => Path.Combine(_root, "ext4.img");

    /// <summary>NTFS with one file that its own compression packs.</summary>
    public string Compressed => Path.Combine(_root, "ntfs-compressed.img");

    public IEnumerable<(string Name, string Path)> All =>
    [
        ("raw", Raw),
        ("VMDK monolithicSparse", Path.Combine(_root, "sparse.vmdk")),
        ("VMDK streamOptimized", Path.Combine(_root, "stream.vmdk")),
        ("VHDX dynamic", Path.Combine(_root, "dynamic.vhdx")),
    ];

    public string this[string name] => All.Single(i => i.Name == name).Path;

    public string Sink => Path.Combine(_root, "sink");

    public static ReaderImages Make(string work)
    {
        var images = new ReaderImages(Path.Combine(work, "readers"));
        string done = Path.Combine(images._root, "complete");
        if (!File.Exists(done))
        {
            Directory.CreateDirectory(images._root);
            Console.Error.WriteLine($"building the images below {images._root} (once)");
            string folder = Path.Combine(images._root, "files");
            Measured.Script(
                """
                PATH=$PATH:/usr/sbin:/sbin
                cd "$1"; files=$2; size=$3; compressed=$4
                mkdir -p "$files" mount
                # Cut off by head on purpose.
                { { find /usr -xdev -type f -size -8M -print0 | LC_ALL=C sort -z | awk 'BEGIN { RS = "\0"; ORS = "\0" } NR % 9 == 0' | head -z -n 9000; } 2> /dev/null | tar cf - --null --hard-dereference -T - 2> /dev/null || true; } | tar xf - --no-same-owner -C "$files"
                while [ "$(du -sm "$files" | cut -f1)" -gt 560 ]; do find "$files" -type f -size +900k | LC_ALL=C sort | head -n 20 | xargs rm; done
                rm -f ext4.img; truncate -s "$size" ext4.img; mke2fs -q -F -t ext4 -m 0 -d "$files" ext4.img
                qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse ext4.img sparse.vmdk
                qemu-img convert -f raw -O vmdk -o subformat=streamOptimized ext4.img stream.vmdk
                qemu-img convert -f raw -O vhdx -o subformat=dynamic ext4.img dynamic.vhdx
                rm -f ntfs-compressed.img; truncate -s 256M ntfs-compressed.img; mkntfs -q -Q -F ntfs-compressed.img > /dev/null 2>&1
                ntfs-3g -o compression ntfs-compressed.img mount
                trap 'umount mount' EXIT
                mkdir mount/packed; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be mount/packed
                find "$files" -type f -name '*.[hcp][y]*' -o -type f -name '*.so*' | LC_ALL=C sort 2> /dev/null | xargs cat 2> /dev/null | head -c "$compressed" > mount/packed/content || true
                """,
                [images._root, folder, $"{SizeBytes}", $"{CompressedMiB << 20}"]);
            Directory.Delete(folder, recursive: true);
            File.WriteAllText(done, "");
        }

        return images;
    }
}
