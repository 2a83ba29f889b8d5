using System.Diagnostics;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Benchmarks.Running;

/// <summary>The product's NBD client against <c>nbdcopy</c> into nowhere, on the same server.</summary>
internal static class NbdBenchmark
{
    private const double Least = 0.9;
    private const int StepBytes = 1 << 20;

    public static void Run(string work, long bytes, int rounds)
    {
        string folder = Path.Combine(work, "nbd");
        Directory.CreateDirectory(folder);
        string image = Path.Combine(folder, "disk.raw");
        if (!File.Exists(image) || new FileInfo(image).Length != bytes)
        {
            Tool.Shell($"head -c {bytes} /dev/urandom > disk.raw", folder);
        }

        foreach ((string name, string[] arguments) in new (string, string[])[]
        {
            ("qemu-nbd", ["-t", "-r", "-f", "raw", "-k", Socket("qemu"), "-e", "16", image]),
            ("nbdkit", ["-f", "-r", "-U", Socket("kit"), "--exit-with-parent", "file", image]),
        })
        {
            string socket = Socket(name[..4] == "qemu" ? "qemu" : "kit");
            File.Delete(socket);
            using Daemon server = Daemon.Start(name, () => File.Exists(socket), arguments);
            List<double> ours = [], theirs = [];
            Read(socket, bytes);
            for (int i = 0; i < rounds; i++)
            {
                theirs.Add(Time(() => Tool.Run("nbdcopy", $"nbd+unix:///?socket={socket}", "null:")));
                ours.Add(Time(() => Read(socket, bytes)));
            }

            double ratio = Numbers.Median(theirs) / Numbers.Median(ours);
            Console.WriteLine(FormattableString.Invariant(
                $"nbd, {name}: {Rate(ours):0} MiB/s, nbdcopy {Rate(theirs):0} MiB/s, ratio {ratio:0.00} (at least {Least}: {(ratio >= Least ? "reached" : "MISSED")}); {rounds} rounds of {bytes >> 20} MiB, load {Numbers.Load}"));
        }

        string Socket(string of) => Path.Combine(folder, of + ".socket");

        double Rate(List<double> times) => bytes / Numbers.Median(times) / (1 << 20);
    }

    /// <summary>As a scan reads: in order, by one thread.</summary>
    private static void Read(string socket, long bytes)
    {
        using NbdSource source = NbdSource.Open(NbdTransport.Unix(socket), "", new ScanBudget(256 << 20));
        byte[] step = new byte[StepBytes];
        for (long at = 0; at < bytes; at += StepBytes)
        {
            source.Read(at, step.AsSpan(0, (int)Math.Min(StepBytes, bytes - at)));
        }
    }

    private static double Time(Action action)
    {
        long began = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(began).TotalSeconds;
    }
}

internal static class Numbers
{
    /// <summary>Of the last minute, which says how far a measurement is to be believed.</summary>
    public static string Load => File.ReadAllText("/proc/loadavg").Split(' ')[0];

    public static double Median(IReadOnlyList<double> values) => Percentile(values, 50);

    public static double Percentile(IReadOnlyList<double> values, int percent)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0 ? double.NaN : sorted[Math.Min(sorted.Length - 1, sorted.Length * percent / 100)];
    }
}
