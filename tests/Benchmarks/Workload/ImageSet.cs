using System.Globalization;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.Workload;

/// <summary>The same files three times: extracted in a folder, in NTFS inside a VMDK, in ext4 inside a VHDX. Made once and kept.</summary>
internal sealed class ImageSet
{
    private readonly string _root;

    private ImageSet(string root) => _root = root;

    /// <summary>The extracted files, and nothing else.</summary>
    public string Folder => Path.Combine(_root, "files");

    /// <summary>NTFS as a raw image, for the kernel's and ntfs-3g's way to it.</summary>
    public string NtfsRaw => Path.Combine(_root, "ntfs.img");

    public string Vmdk => Path.Combine(_root, "ntfs.vmdk");

    public string Vhdx => Path.Combine(_root, "ext4.vhdx");

    /// <summary>A disk with one small file: what a run costs before it reads anything.</summary>
    public string Tiny => Path.Combine(_root, "tiny.img");

    public string Scratch => Path.Combine(_root, "scratch");

    public int Files { get; private set; }

    public long Bytes { get; private set; }

    public static ImageSet Make(string work, long bytes)
    {
        var set = new ImageSet(Path.Combine(work, "set-" + (bytes >> 20).ToString(CultureInfo.InvariantCulture)));
        Directory.CreateDirectory(set.Scratch);
        string done = Path.Combine(set._root, "complete");
        if (!File.Exists(done))
        {
            Console.Error.WriteLine($"building the files and images below {set._root} (once)");
            set.Build(bytes);
            File.WriteAllText(done, "");
        }

        foreach (FileInfo file in new DirectoryInfo(set.Folder).EnumerateFiles("*", SearchOption.AllDirectories))
        {
            set.Files++;
            set.Bytes += file.Length;
        }

        return set;
    }

    private void Build(long bytes)
    {
        Directory.CreateDirectory(Folder);
        string list = Path.Combine(_root, "files.list");
        File.WriteAllLines(list, FileSelection.Choose(bytes).Select(f => f[1..]));
        // Owners, times and links are of no interest here; a file that is two links is two files.
        Step("copying", $"cd / && tar cf - --hard-dereference -T '{list}' | tar xf - --no-same-owner -C '{Folder}'");
        long total = new DirectoryInfo(Folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);
        long size = (total + (total / 8) + (512 << 20)) >> 20 << 20;
        string ext = Path.Combine(_root, "ext4.img");
        Step("ext4", $"rm -f '{ext}' && truncate -s {size} '{ext}' && mke2fs -q -F -t ext4 -m 0 -d '{Folder}' '{ext}'");
        Step("VHDX", $"qemu-img convert -f raw -O vhdx -o subformat=dynamic '{ext}' '{Vhdx}' && rm '{ext}'");
        string mount = Path.Combine(_root, "mount");
        Step("NTFS", $"""
            rm -f '{NtfsRaw}'; mkdir -p '{mount}'; truncate -s {size} '{NtfsRaw}'
            mkntfs -q -Q -F -L bench '{NtfsRaw}' > /dev/null 2>&1
            ntfs-3g '{NtfsRaw}' '{mount}'
            trap 'umount "{mount}"' EXIT
            cp -r '{Folder}/.' '{mount}'
            """);
        Step("VMDK", $"qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse '{NtfsRaw}' '{Vmdk}'");
        Step("tiny", $"rm -rf '{Scratch}/tiny'; mkdir -p '{Scratch}/tiny'; echo hello > '{Scratch}/tiny/a.txt'; rm -f '{Tiny}'; truncate -s 1M '{Tiny}'; mke2fs -q -F -t ext4 -O ^has_journal -d '{Scratch}/tiny' '{Tiny}'");
    }

    private static void Step(string what, string script)
    {
        Console.Error.WriteLine($"  {what}");
        foreach (string tool in new[] { "mke2fs", "qemu-img", "mkntfs", "ntfs-3g" })
        {
            Tool.Find(tool);
        }

        Measured.Script("PATH=$PATH:/usr/sbin:/sbin\n" + script, []);
    }
}
