using System.Diagnostics;
using System.Globalization;
using Vmsweep.Benchmarks.EndToEnd;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Readers;

namespace Vmsweep.Benchmarks.FileSystems;

/// <summary>The names of a great many files: time and memory of a listing, and of the reader's walk alone.</summary>
internal static class WalkBenchmark
{
    private const int FilesInFolder = 500;
    private const double MostSeconds = 20;
    private const long MostBytes = 400L << 20;

    public static void Run(string work, int files, int rounds)
    {
        string root = Path.Combine(work, "walk-" + files.ToString(CultureInfo.InvariantCulture));
        Directory.CreateDirectory(root);
        foreach ((string kind, string make, string mount) in MountedImages.Kinds.Where(k => k.Name != "Btrfs, zstd"))
        {
            string image = Path.Combine(root, kind.ToLowerInvariant() + ".img");
            if (!File.Exists(image + ".complete"))
            {
                Console.Error.WriteLine($"building {image} (once)");
                Build(image, make.Replace("-m 0", $"-m 0 -N {files + (files / 10)}", StringComparison.Ordinal), mount, files);
                File.WriteAllText(image + ".complete", "");
            }

            Rounds costs = Rounds.Run(
            [
                new("find over the mount", [image], () => Find(image, mount, Path.Combine(root, "mount"), kind == "NTFS")),
                new("vmsweep ls", [image], () => Programs.ListNames(image, Path.Combine(root, "names.tsv"))),
            ], rounds);
            (int walked, double seconds, long bytes) = Walk(image);
            Console.WriteLine($"\n{kind}: {walked} entries, {rounds} rounds in turns, page cache warm");
            costs.Print("find over the mount");
            bool isReached = seconds * 1_000_000 / walked <= MostSeconds && bytes <= MostBytes;
            Console.WriteLine($"  the reader's walk in this process: {seconds:0.0} s, {Text.MiB(bytes)} held at its end (a million in at most {MostSeconds} s and {Text.MiB(MostBytes)}: {(isReached ? "reached" : "MISSED")})");
        }
    }

    private static void Build(string image, string make, string mount, int files) => Measured.Script($$"""
        PATH=$PATH:/usr/sbin:/sbin; image=$1; mount=$2; files=$3
        rm -f "$image"; truncate -s 6G "$image"; mkdir -p "$mount"; {{make}}; {{mount}}
        trap 'umount "$mount"' EXIT
        python3 - "$mount" "$files" {{FilesInFolder}} <<'END'
        import os, sys
        root, files, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        for folder in range(files // each):
            path = "%s/%d/%d" % (root, folder // 100, folder)
            os.makedirs(path)
            for i in range(each):
                fd = os.open("%s/some file %d.txt" % (path, i), os.O_CREAT | os.O_WRONLY)
                if i % 10 == 0:
                    os.write(fd, b"content of its own %d" % i)
                os.close(fd)
        END
        """, [image, Path.Combine(Path.GetDirectoryName(image)!, "mount"), files.ToString(CultureInfo.InvariantCulture)]);

    private static Cost Find(string image, string mount, string point, bool isFuse) => Measured.Script(
        isFuse
            ? """
              PATH=$PATH:/usr/sbin:/sbin; ntfs-3g -o ro,no_detach "$1" "$2" > /dev/null 2>&1 & daemon=$!
              for i in $(seq 200); do mountpoint -q "$2" && break; sleep 0.02; done
              trap 'umount "$2"; wait $daemon' EXIT
              find "$2" -type f -printf '%s %P\n' > /dev/null
              """
            : $$"""
              PATH=$PATH:/usr/sbin:/sbin; image=$1; mount=$2; {{mount}}
              trap 'umount "$mount"' EXIT
              find "$mount" -type f -printf '%s %P\n' > /dev/null
              """,
        [image, point]);

    /// <summary>Every file of a walk kept, as a scan keeps them to sort them.</summary>
    private static (int Entries, double Seconds, long Bytes) Walk(string image)
    {
        long before = GC.GetTotalMemory(forceFullCollection: true);
        using var disk = new OpenDisk(image);
        long started = Stopwatch.GetTimestamp();
        List<DiskReaders.FileSystems.GuestFile> files = [.. disk.Volume.FileSystem!.Walk()];
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        long bytes = GC.GetTotalMemory(forceFullCollection: true) - before;
        return (files.Count, seconds, bytes);
    }
}
