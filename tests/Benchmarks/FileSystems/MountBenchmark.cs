using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Benchmarks.EndToEnd;
using Vmsweep.Benchmarks.Measuring;

namespace Vmsweep.Benchmarks.FileSystems;

/// <summary>Hashing listings of a raw image against openssl over the kernel's mount of it, or ntfs-3g's.</summary>
internal static class MountBenchmark
{
    private const double LeastOfKernel = 1.0;
    private const double LeastOfNtfs3g = 3.0;
    private const string Bound = "SHA-256 alone";

    /// <summary>With packed files the kernel keeps what it unpacked once, and would be measured without unpacking.</summary>
    private const string Unpacked = "openssl, the kernel unpacked before";

    /// <summary>True when all hashes are equal.</summary>
    public static bool Run(MountedImages images, int threads, int rounds)
    {
        bool equal = true;
        foreach ((string kind, _, string mount) in MountedImages.Kinds)
        {
            equal &= Run(kind, mount, images, threads, rounds);
        }

        return equal;
    }

    private static bool Run(string kind, string mount, MountedImages images, int threads, int rounds)
    {
        bool isFuse = kind == "NTFS";
        bool isPacked = kind == MountedImages.Packed;
        string theirs = isFuse ? "ntfs-3g + openssl" : "kernel + openssl";
        string image = images[kind];
        string point = Path.Combine(images.Scratch, "mount");
        string expected = Path.Combine(images.Scratch, "openssl.txt");
        string listing = Path.Combine(images.Scratch, "vmsweep.tsv");
        const string Ours = "vmsweep ls --sha256";
        void Mount() => Measured.Script("PATH=$PATH:/usr/sbin:/sbin; image=$1; mount=$2; " + mount, [image, point]);
        Cost OpenSslUnpacking()
        {
            // Its files leave the page cache with the mount; the image stays in it.
            Measured.Script("umount \"$1\"", [point]);
            Mount();
            return Programs.OpenSsl(point, expected);
        }

        if (!isFuse)
        {
            // Mounted for all rounds, so that the files themselves are in the page cache.
            Mount();
        }

        try
        {
            Subject[] kernels = isPacked
                ? [new(Unpacked, [point], () => Programs.OpenSsl(point, expected)), new(theirs, [image], OpenSslUnpacking)]
                : [new(theirs, isFuse ? [image] : [point], () => isFuse ? OpenSslOverNtfs3g(image, point, expected) : Programs.OpenSsl(point, expected))];
            Rounds costs = Rounds.Run(
            [
                .. kernels,
                new(Ours, [image], () => Programs.List(image, listing, threads)),
                new(Bound, [], () => HashAlone([.. File.ReadLines(listing).Select(l => long.Parse(l.Split('\t')[1], CultureInfo.InvariantCulture))], threads)),
            ], rounds);
            Console.WriteLine($"\n{kind}: walk and SHA-256 of every file, {threads} threads, {rounds} rounds in turns, page cache warm{(isPacked ? ", mounted anew: the kernel unpacks too" : "")}");
            costs.Print(theirs);
            double rate = 1 / costs.Ratio(Ours, theirs);
            double least = isFuse ? LeastOfNtfs3g : LeastOfKernel;
            Console.WriteLine($"  {rate:0.00} of {theirs}'s rate (at least {least:0.0}: {(rate >= least ? "reached" : "MISSED")}), by processor time {1 / costs.ProcessorRatio(Ours, theirs):0.00}");
            double most = 1 / costs.Ratio(Bound, theirs);
            Console.WriteLine($"  {most:0.00}, by processor time {1 / costs.ProcessorRatio(Bound, theirs):0.00}, is what hashing the same bytes in memory reaches: {(most < least ? "the target is BOUND BY HASHING" : "no reader can be faster")}");
        }
        finally
        {
            if (!isFuse)
            {
                Measured.Script("umount \"$1\"", [point]);
            }
        }

        return Compare(kind, image, mount, point, expected, listing);
    }

    /// <summary>Contents of these sizes hashed in this process, from memory: what is left when reading costs nothing.</summary>
    private static Cost HashAlone(IReadOnlyList<long> sizes, int threads)
    {
        TimeSpan before = Environment.CpuUsage.TotalTime;
        long began = Stopwatch.GetTimestamp();
        int next = -1;
        Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, _ =>
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            byte[] part = RandomNumberGenerator.GetBytes(ContentHasher.PartBytes);
            byte[] value = new byte[SHA256.HashSizeInBytes];
            for (int i; (i = Interlocked.Increment(ref next)) < sizes.Count;)
            {
                for (long left = sizes[i]; left > 0; left -= ContentHasher.PartBytes)
                {
                    hash.AppendData(part, 0, (int)Math.Min(left, ContentHasher.PartBytes));
                }

                hash.GetHashAndReset(value);
            }
        });
        return new Cost(Stopwatch.GetElapsedTime(began), Environment.CpuUsage.TotalTime - before, 0, 0, 0);
    }

    /// <summary>ntfs-3g's own process counts.</summary>
    private static Cost OpenSslOverNtfs3g(string image, string mount, string output) => Measured.Script(
        """
        PATH=$PATH:/usr/sbin:/sbin; image=$1; mount=$2; out=$3
        ntfs-3g -o ro,no_detach "$image" "$mount" > "$out.mount" 2>&1 & daemon=$!
        for i in $(seq 200); do mountpoint -q "$mount" && break; sleep 0.02; done
        mountpoint -q "$mount"
        trap 'umount "$mount"; wait $daemon' EXIT
        ( cd "$mount"; find -type f -print0 | xargs -0 -P2 -n200 openssl dgst -sha256 -r > "$out" )
        """, [image, mount, output]);

    /// <summary>Once more by one process, as processes side by side tear each other's lines.</summary>
    private static bool Compare(string kind, string image, string mount, string point, string expected, string listing)
    {
        Measured.Script($$"""
            PATH=$PATH:/usr/sbin:/sbin; image=$1; mount=$2; {{mount}}
            trap 'umount "$mount"' EXIT
            ( cd "$mount"; find -type f -print0 | xargs -0 -n200 openssl dgst -sha256 -r > "$3" )
            """, [image, point, expected]);
        string[] theirs = [.. File.ReadLines(expected).Select(l => $"{l[..64]} {l[(l.IndexOf('*', StringComparison.Ordinal) + 3)..]}").Order(StringComparer.Ordinal)];
        string[] ours = [.. File.ReadLines(listing).Select(l => l.Split('\t')).Select(c => $"{c[2]} {c[0]["v1/".Length..]}").Order(StringComparer.Ordinal)];
        bool equal = theirs.SequenceEqual(ours, StringComparer.Ordinal);
        Console.WriteLine($"  {kind}: {ours.Length} files, {(equal ? "all hashes equal" : "hashes DIFFERENT")}");
        return equal;
    }
}
