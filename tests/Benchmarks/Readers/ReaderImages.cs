using Vmsweep.Benchmarks.Measuring;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>One disk in every container, for measuring readers alone. Made once and kept.</summary>
internal sealed class ReaderImages
{
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
        ("VHD dynamic", Path.Combine(_root, "dynamic.vhd")),
        ("VDI dynamic", Path.Combine(_root, "dynamic.vdi")),
        ("qcow2", Path.Combine(_root, "plain.qcow2")),
        ("qcow2 zlib", Path.Combine(_root, "zlib.qcow2")),
        ("qcow2 zstd", Path.Combine(_root, "zstd.qcow2")),
        ("qcow2, 10 layers", Path.Combine(_root, "layer9.qcow2")),
        ("VMDK, 10 layers", Path.Combine(_root, "layer9.vmdk")),
    ];

    /// <summary>Chains of ten layers, each with the image of one layer that has the same content.</summary>
    public IEnumerable<(string Chain, string One)> Chains =>
    [
        (Path.Combine(_root, "layer9.qcow2"), Path.Combine(_root, "flat.qcow2")),
        (Path.Combine(_root, "layer9.vmdk"), Path.Combine(_root, "flat.vmdk")),
    ];

    public string this[string name] => All.Single(i => i.Name == name).Path;

    /// <param name="work">Where they are kept.</param>
    /// <param name="bytes">Of the disk, whose files take three quarters.</param>
    public static ReaderImages Make(string work, long bytes)
    {
        var images = new ReaderImages(Path.Combine(work, $"readers-{bytes >> 20}"));
        string done = Path.Combine(images._root, "complete");
        if (!File.Exists(done))
        {
            Directory.CreateDirectory(images._root);
            Console.Error.WriteLine($"building the images below {images._root} (once)");
            string folder = Path.Combine(images._root, "files");
            Measured.Script(
                """
                PATH=$PATH:/usr/sbin:/sbin
                cd "$1"; files=$2; size=$3; compressed=$4; mib=$(($3 >> 20))
                mkdir -p "$files" mount
                # Cut off by head on purpose.
                { { find /usr -xdev -type f -size -8M -print0 | LC_ALL=C sort -z | awk 'BEGIN { RS = "\0"; ORS = "\0" } NR % 2 == 0' | head -z -n $((mib * 15)); } 2> /dev/null | tar cf - --null --hard-dereference -T - 2> /dev/null || true; } | tar xf - --no-same-owner -C "$files"
                # A machine has some gibibytes of such files: a larger disk holds them several times.
                copies=0; full=$((mib * 3 / 4))
                mv "$files" one; mkdir "$files"
                while [ "$(du -sm "$files" | cut -f1)" -lt "$full" ]; do cp -r one "$files/$copies"; copies=$((copies + 1)); done
                rm -r one
                while [ "$(du -sm "$files" | cut -f1)" -gt "$full" ]; do find "$files" -type f -size +900k | LC_ALL=C sort | sed -n 1,20p | xargs rm; done
                rm -f ext4.img; truncate -s "$size" ext4.img; mke2fs -q -F -t ext4 -m 0 -d "$files" ext4.img
                qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse ext4.img sparse.vmdk
                qemu-img convert -f raw -O vmdk -o subformat=streamOptimized ext4.img stream.vmdk
                qemu-img convert -f raw -O vhdx -o subformat=dynamic ext4.img dynamic.vhdx
                qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on ext4.img dynamic.vhd
                qemu-img convert -f raw -O vdi ext4.img dynamic.vdi
                qemu-img convert -f raw -O qcow2 ext4.img plain.qcow2
                qemu-img convert -f raw -c -O qcow2 ext4.img zlib.qcow2
                qemu-img convert -f raw -c -O qcow2 -o compression_type=zstd ext4.img zstd.qcow2
                for kind in qcow2 vmdk; do
                    cp --sparse=always "$([ $kind = qcow2 ] && echo plain.qcow2 || echo sparse.vmdk)" layer0.$kind
                    for i in 1 2 3 4 5 6 7 8 9; do
                        qemu-img create -q -f $kind -b layer$((i - 1)).$kind -F $kind layer$i.$kind
                        # A twentieth of the disk is written anew in each layer, in pieces of 1 MiB.
                        seq $((i * 3)) 20 $((mib - 8)) | sed "s/.*/write -P $i &M 1M/" | qemu-io -f $kind layer$i.$kind > /dev/null
                    done
                    qemu-img convert -f $kind -O $kind layer9.$kind flat.$kind
                done
                rm -f ntfs-compressed.img; truncate -s 256M ntfs-compressed.img; mkntfs -q -Q -F ntfs-compressed.img > /dev/null 2>&1
                ntfs-3g -o compression ntfs-compressed.img mount
                trap 'umount mount' EXIT
                mkdir mount/packed; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be mount/packed
                find "$files" -type f -name '*.[hcp][y]*' -o -type f -name '*.so*' | LC_ALL=C sort 2> /dev/null | xargs cat 2> /dev/null | head -c "$compressed" > mount/packed/content || true
                """,
                [images._root, folder, $"{bytes}", $"{CompressedMiB << 20}"]);
            Directory.Delete(folder, recursive: true);
            File.WriteAllText(done, "");
        }

        return images;
    }
}
