using System.Diagnostics;
using System.Globalization;
using Vmsweep.Benchmarks.Measuring;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>A nearly empty disk of 62 TiB: time and memory until it is open and its one written cluster is read, in this process; and all of <c>vmsweep info</c>.</summary>
internal static class OpenBenchmark
{
    private const long WrittenAt = 61L << 40;
    private const double MostSeconds = 1;
    private const long MostBytes = 64L << 20;

    private static readonly (string Name, string Format)[] Kinds = [("VMDK monolithicSparse", "vmdk"), ("VHDX dynamic", "vhdx"), ("qcow2", "qcow2")];

    public static void Run(string work, int rounds)
    {
        string root = Directory.CreateDirectory(Path.Combine(work, "huge")).FullName;
        string launcher = Path.Combine(Repository.Root, "vmsweep");
        Console.WriteLine("\nopen: sparse disks of 62 TiB with one written cluster");
        foreach ((string name, string format) in Kinds)
        {
            string image = Path.Combine(root, "disk." + format);
            if (!File.Exists(image + ".complete"))
            {
                Measured.Script("qemu-img create -q -f $2 \"$1\" 62T; qemu-io -f $2 -c \"write -P 66 $3 64k\" \"$1\" > /dev/null", [image, format, WrittenAt.ToString(CultureInfo.InvariantCulture)]);
                File.WriteAllText(image + ".complete", "");
            }

            // The first compiles what the others run.
            (double Seconds, long Bytes)[] opened = [.. Enumerable.Range(0, rounds + 1).Select(_ => Open(image))];
            double seconds = opened.Skip(1).Select(o => o.Seconds).Order().ElementAt((rounds - 1) / 2);
            long bytes = opened.Max(o => o.Bytes);
            bool isReached = opened.Max(o => o.Seconds) < MostSeconds && bytes < MostBytes;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {name}: {seconds * 1000:0.0} ms, the first {opened[0].Seconds * 1000:0} ms, {bytes / (double)(1 << 20):0.0} MiB allocated (at most {MostSeconds} s and {Text.MiB(MostBytes)}: {(isReached ? "reached" : "MISSED")})"));
            Cost[] costs = [.. Enumerable.Range(0, rounds).Select(_ => Measured.Script("\"$1\" info \"$2\" > /dev/null", [launcher, image], 3))];
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    vmsweep info: {costs.Min(c => c.Elapsed.TotalSeconds):0.0} s, its largest process {Text.MiB(costs.Max(c => c.PeakSingle))}, all of them {Text.MiB(costs.Max(c => c.PeakTogether))}"));
        }
    }

    private static (double Seconds, long Bytes) Open(string image)
    {
        long before = GC.GetTotalAllocatedBytes(precise: true);
        long started = Stopwatch.GetTimestamp();
        using var disk = new OpenDisk(image);
        byte[] read = new byte[64 << 10];
        disk.Content.Read(WrittenAt, read);
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        return read.AsSpan().ContainsAnyExcept((byte)66) ? throw new InvalidOperationException($"{image}: other bytes than were written") : (seconds, GC.GetTotalAllocatedBytes(precise: true) - before);
    }
}
