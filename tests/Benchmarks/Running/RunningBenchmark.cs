using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Benchmarks.Running;

/// <summary>
/// A VM that runs under software emulation and writes with a sync after each write: how soon a first file is read, what the guest notices of it, what
/// a second scan spares that reads only changes, and how long the guest's memory takes.
/// </summary>
internal static class RunningBenchmark
{
    private static readonly TimeSpan Span = TimeSpan.FromSeconds(12);
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    private static string Launcher => Path.Combine(Repository.Root, "vmsweep");

    public static void Run(int rounds)
    {
        using var rig = new LibvirtRig();
        using var scratch = new Scratch();
        RunningGuest.MakeDisks(rig.Images);
        using GuestSerial serial = rig.Start("bench", "a.qcow2", "b.qcow2");
        File.WriteAllText(scratch["c.json"], $$"""{ "connectors": { "lab": { "address": "{{rig.Address}}", "views": "{{rig.Views}}", "minimumFree": "10M" } } }""");
        string[] options = ["--config", scratch["c.json"], "--state", scratch["state"]];
        Console.WriteLine($"load {Numbers.Load}");

        List<double> first = [];
        for (int i = 0; i < rounds; i++)
        {
            first.Add(Time(() => Program(["cat", "lab/bench", "d1v1/etc/hostname", .. options])));
        }

        Console.WriteLine(FormattableString.Invariant($"first file of a running VM whole after {Numbers.Median(first):0.00} s, from the command on"));

        serial.Latencies();
        Thread.Sleep(Span);
        Say("before", serial.Latencies());
        long began = Stopwatch.GetTimestamp();
        List<Scanned> scans = [];
        while (Stopwatch.GetElapsedTime(began) < Span)
        {
            scans.Add(Scan(["lab/bench", "--no-cache", .. options]));
        }

        Say($"during {scans.Count} scans", serial.Latencies());
        Console.WriteLine($"each of them: {scans.MaxBy(s => s.PeakTogether)!.Memory}");
        Thread.Sleep(Span);
        Say("after", serial.Latencies());

        foreach (string name in (string[])["all", "changes"])
        {
            Scanned scan = Scan(["lab/bench", "--changed", .. options]);
            using JsonDocument json = JsonDocument.Parse(scan.Report);
            JsonElement totals = json.RootElement.GetProperty("totals");
            Console.WriteLine(FormattableString.Invariant(
                $"scan of {name}: {scan.Seconds:0.0} s, {totals.GetProperty("bytesRead").GetInt64() >> 10} KiB read, {totals.GetProperty("bytesUnchanged").GetInt64() >> 10} KiB unchanged, {scan.Memory}"));
        }

        rig.Virsh("dump", "--memory-only", "--format", "elf", "bench", scratch["memory.elf"]);
        Scanned memory = Scan([scratch["memory.elf"], "--state", "none"]);
        Console.WriteLine(FormattableString.Invariant($"scan of {new FileInfo(scratch["memory.elf"]).Length >> 20} MiB of guest memory: {memory.Seconds:0.0} s, {memory.Memory}; load {Numbers.Load}"));

        string lease = Program(["leases", "list", "--state", scratch["state"]]).Split(' ')[0];
        Program(["leases", "reap", lease, .. options]);
    }

    private static void Say(string when, IReadOnlyList<double> latencies) => Console.WriteLine(FormattableString.Invariant(
        $"guest's synced write of 32 KiB {when}: median {Numbers.Median(latencies) * 1000:0} ms, 95 of 100 within {Numbers.Percentile(latencies, 95) * 1000:0} ms, {latencies.Count} writes"));

    private static Scanned Scan(string[] arguments)
    {
        var start = new ProcessStartInfo(Launcher, ["scan", "--format", "json", "--no-progress", .. arguments]) { RedirectStandardOutput = true };
        long began = Stopwatch.GetTimestamp();
        using Process process = Process.Start(start)!;
        Task<string> report = process.StandardOutput.ReadToEndAsync();
        var tree = new ProcessTree(process.Id);
        do
        {
            tree.Sample();
        }
        while (!process.WaitForExit(Interval));
        double seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
        return process.ExitCode is 0 or 1 or 3
            ? new Scanned(seconds, tree.PeakTogether, tree.PeakSingle, report.GetAwaiter().GetResult())
            : throw new InvalidOperationException($"status {process.ExitCode} of a scan of {string.Join(' ', arguments)}");
    }

    private static string Program(string[] arguments)
    {
        (int status, byte[] output, string error) = Tool.Try(Launcher, Repository.Root, arguments);
        return status is 0 or 1 or 3 ? System.Text.Encoding.UTF8.GetString(output) : throw new InvalidOperationException($"status {status} of {string.Join(' ', arguments)}: {error}");
    }

    private static double Time(Action action)
    {
        long began = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(began).TotalSeconds;
    }

    private sealed record Scanned(double Seconds, long PeakTogether, long PeakSingle, string Report)
    {
        public string Memory => $"peak memory {Text.MiB(PeakTogether)}, of its largest process {Text.MiB(PeakSingle)}";
    }
}
