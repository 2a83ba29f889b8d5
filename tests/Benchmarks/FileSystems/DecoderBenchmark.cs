using System.Diagnostics;
using System.Security.Cryptography;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Readers;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.FileSystems;

/// <summary>Packed files read through their file systems by one thread, in MB/s of content, beside 7-Zip or the kernel.</summary>
internal static class DecoderBenchmark
{
    private const int ContentMiB = 96;

    public static bool Run(string work, int rounds)
    {
        string root = Path.Combine(work, "decoders");
        if (!File.Exists(Path.Combine(root, "complete")))
        {
            Console.Error.WriteLine($"building the images below {root} (once)");
            Directory.CreateDirectory(root);
            Build(root);
            File.WriteAllText(Path.Combine(root, "complete"), "");
        }

        string content = Content.Sha256OfFile(Path.Combine(root, "content/content"));
        bool equal = true;
        Console.WriteLine($"\none file of {ContentMiB} MiB of programs and texts, one thread, medians of {rounds} rounds in turns, page cache warm");
        Console.WriteLine($"  {"",-22} {"ours",10} {"processor",10}   theirs");
        foreach ((string name, string image, string theirs, string script) in (ReadOnlySpan<(string, string, string, string)>)
        [
            ("NTFS, LZNT1", "lznt1.img", "7-Zip", "7z e -so lznt1.img content > out"),
            ("NTFS, XPRESS 16K", "xpress.img", "7-Zip (WIM)", "7z e -so xpress16384.wim content > out"),
            ("NTFS, LZX", "lzx.img", "7-Zip (WIM)", "7z e -so lzx32768.wim content > out"),
            ("Btrfs, zstd", "zstd.img", "kernel, all its threads", Kernel("zstd.img")),
            ("Btrfs, LZO", "lzo.img", "kernel, all its threads", Kernel("lzo.img")),
            ("Btrfs, zlib", "zlib.img", "kernel, all its threads", Kernel("zlib.img")),
        ])
        {
            List<double> ours = [];
            List<double> processor = [];
            List<Cost> others = [];
            for (int round = 0; round < rounds; round++)
            {
                (double seconds, double used, bool isEqual) = Read(Path.Combine(root, image), content);
                equal &= isEqual;
                ours.Add(seconds);
                processor.Add(used);
                others.Add(Measured.Script($"cd \"$1\"; PATH=$PATH:/usr/sbin:/sbin; {script}", [root]));
            }

            Console.WriteLine($"  {name,-22} {Rate(ours),5:0} MB/s {Rate(processor),5:0} MB/s   {theirs} {Rate(others.Select(o => o.Elapsed.TotalSeconds)):0} MB/s, by processor time {Rate(others.Select(o => o.Processor.TotalSeconds)):0} MB/s");
        }

        Console.WriteLine(equal ? "  all contents equal" : "  contents DIFFERENT");
        return equal;
    }

    private static double Rate(IEnumerable<double> seconds)
    {
        double[] sorted = [.. seconds.Order()];
        return ContentMiB * 1.048576 / Math.Max(sorted[sorted.Length / 2], 0.001);
    }

    /// <summary>A mount of its own each time, so that no unpacked page is left from the last.</summary>
    private static string Kernel(string image) => $"mkdir -p mount; mount -o loop,ro {image} mount; trap 'umount mount' EXIT; cat mount/content > /dev/shm/vmsweep-benchmark-$$; rm /dev/shm/vmsweep-benchmark-$$";

    private static (double Seconds, double Processor, bool IsEqual) Read(string image, string expected)
    {
        using var disk = new OpenDisk(image);
        IFileSystem system = disk.Volume.FileSystem!;
        GuestFile file = system.Walk().First(f => f.Kind == GuestFileKind.Regular && f.StreamName.Length == 0 && f.SizeBytes == ContentMiB << 20);
        using IBlockSource content = system.OpenContent(file);
        byte[] buffer = new byte[1 << 20];
        TimeSpan before = Environment.CpuUsage.TotalTime;
        long started = Stopwatch.GetTimestamp();
        for (long at = 0; at < content.Length; at += buffer.Length)
        {
            content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, content.Length - at)));
        }

        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        return (seconds, (Environment.CpuUsage.TotalTime - before).TotalSeconds, content.Sha256() == expected);
    }

    private static void Build(string root)
    {
        foreach (string tool in new[] { "7z", "wimlib-imagex", "mkfs.btrfs", "mkntfs", "ntfs-3g", "setfattr" })
        {
            Tool.Find(tool);
        }

        Measured.Script($$"""
            cd "$1"; mkdir -p content mount
            { find /usr -xdev -type f \( -name '*.so*' -o -name '*.py' -o -name '*.h' -o -name '*.dll' \) | LC_ALL=C sort | xargs cat 2> /dev/null || true; } | head -c {{ContentMiB << 20}} > content/content || true
            """, [root]);
        using FileStream content = File.OpenRead(Path.Combine(root, "content/content"));
#pragma warning disable CA5350 // What a WIM names its resources by.
        string hash = Convert.ToHexStringLower(SHA1.HashData(content));
#pragma warning restore CA5350
        foreach ((string codec, int chunkBytes) in new[] { ("xpress", 16 << 10), ("lzx", 32 << 10) })
        {
            // By its hash: wimlib may pack the image's own metadata too.
            File.WriteAllBytes(Path.Combine(root, codec + ".packed"), WimImage.Pack(Path.Combine(root, "content"), root, codec, chunkBytes)[hash]);
        }

        // WOF_EXTERNAL_INFO and FILE_PROVIDER_EXTERNAL_INFO_V1: algorithm 3 is XPRESS in 16 KiB, 1 is LZX.
        Measured.Script($$"""
            PATH=$PATH:/usr/sbin:/sbin; cd "$1"
            mount_ntfs() { rm -f $1; truncate -s 256M $1; mkntfs -q -Q -F $1 > /dev/null 2>&1; ntfs-3g -o streams_interface=windows,compression $1 mount; }
            mount_ntfs lznt1.img; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be mount; cp content/content mount/content; umount mount
            for kind in xpress:03 lzx:01; do
              mount_ntfs ${kind%%:*}.img; truncate -s {{ContentMiB << 20}} mount/content; cat ${kind%%:*}.packed > mount/content:WofCompressedData
              setfattr -h -n system.ntfs_reparse_data -v 0x1700008010000000010000000200000001000000${kind##*:}000000 mount/content; umount mount
            done
            for kind in zstd lzo zlib; do
              rm -f $kind.img; truncate -s 512M $kind.img; mkfs.btrfs -q -f $kind.img; mount -o loop,compress-force=$kind $kind.img mount; cp content/content mount/; umount mount
            done
            """, [root]);
    }
}
