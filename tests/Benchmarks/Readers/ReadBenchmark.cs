using Vmsweep.Benchmarks.Measuring;

namespace Vmsweep.Benchmarks.Readers;

/// <summary><c>vmsweep read</c> against <c>qemu-img convert</c>, image by image, into a file of the same folder.</summary>
internal static class ReadBenchmark
{
    /// <summary>True when the contents are equal.</summary>
    public static bool Run(ReaderImages images, int rounds)
    {
        string launcher = Path.Combine(Repository.Root, "vmsweep");
        bool equal = true;
        Console.WriteLine("\nread: whole disks into a file, page cache warm");
        foreach ((string name, string path) in images.All)
        {
            string ours = images.Sink + ".vmsweep";
            string theirs = images.Sink + ".qemu";
            Rounds costs = Rounds.Run(
            [
                // -S 0: every byte is written, as vmsweep writes it.
                new($"qemu-img convert, {name}", [path], () => Measured.Script("rm -f \"$2\"; qemu-img convert -S 0 -O raw \"$1\" \"$2\"", [path, theirs])),
                new($"vmsweep read, {name}", [path], () => Measured.Script("rm -f \"$3\"; \"$1\" read \"$2\" --out \"$3\"", [launcher, path, ours])),
            ], rounds);
            costs.Print($"qemu-img convert, {name}");
            bool same = Measured.Script("cmp \"$1\" \"$2\"", [ours, theirs], 1).Status == 0;
            Console.WriteLine($"  {name}: contents {(same ? "equal" : "DIFFERENT")}");
            equal &= same;
            File.Delete(ours);
            File.Delete(theirs);
        }

        return equal;
    }
}
