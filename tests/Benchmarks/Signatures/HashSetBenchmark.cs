using System.Diagnostics;
using System.Security.Cryptography;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Benchmarks.Signatures;

/// <summary>What a compiled hash set costs. To reach: a look-up in under a microsecond with 50 million entries.</summary>
internal static class HashSetBenchmark
{
    private const int LookUps = 2_000_000;

    public static bool Run(string work, long entries)
    {
        Directory.CreateDirectory(work);
        string text = Path.Combine(work, "hashes.txt");
        string set = Path.Combine(work, "hashes.set");
        try
        {
            WriteText(text, entries);
            using Process self = Process.GetCurrentProcess();
            long start = Stopwatch.GetTimestamp();
            TimeSpan busy = Environment.CpuUsage.TotalTime;
            HashSetFacts facts;
            using (var builder = new HashSetBuilder(HashSetKind.Bad, work))
            {
                builder.AddFile(text);
                facts = builder.Build(set);
            }

            double built = Stopwatch.GetElapsedTime(start).TotalSeconds;
            double processor = (Environment.CpuUsage.TotalTime - busy).TotalSeconds;
            self.Refresh();
            long textBytes = new FileInfo(text).Length;
            long setBytes = new FileInfo(set).Length;
            Console.WriteLine($"{facts.Count:N0} hashes: text {textBytes >> 20:N0} MiB, set {setBytes >> 20:N0} MiB, {(double)setBytes / textBytes:0.00} of it");
            Console.WriteLine($"built in {built:0.0} s, {processor:0.0} s of processor time, peak memory of the process {self.PeakWorkingSet64 >> 20:N0} MiB");
            start = Stopwatch.GetTimestamp();
            HashSet.Verify(set, HashSetKind.Bad);
            Console.WriteLine($"checked in {Stopwatch.GetElapsedTime(start).TotalSeconds:0.00} s");
            start = Stopwatch.GetTimestamp();
            using HashSet opened = HashSet.Open(set, HashSetKind.Bad);
            Console.WriteLine($"opened in {Stopwatch.GetElapsedTime(start).TotalMilliseconds:0.0} ms");
            double hit = 0;
            double miss = 0;
            for (int round = 0; round < 3; round++)
            {
                // The first round brings the file into memory.
                hit = LookUp(opened, entries, isListed: true);
                miss = LookUp(opened, entries, isListed: false);
                Console.WriteLine($"round {round + 1}: a listed hash {hit:0} ns, another one {miss:0} ns");
            }

            return hit < 1000 && miss < 1000;
        }
        finally
        {
            File.Delete(text);
            File.Delete(set);
        }
    }

    private static void WriteText(string path, long entries)
    {
        using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        Span<byte> hash = stackalloc byte[32];
        Span<byte> line = stackalloc byte[65];
        line[64] = (byte)'\n';
        for (long i = 0; i < entries; i++)
        {
            HashOf(i, hash);
            Convert.TryToHexStringLower(hash, line, out _);
            file.Write(line);
        }
    }

    private static void HashOf(long number, Span<byte> hash) => SHA256.HashData(BitConverter.GetBytes(number), hash);

    /// <summary>Nanoseconds of processor time for one hash, in an order that is everywhere in the file; what else runs on the machine does not count.</summary>
    private static double LookUp(HashSet set, long entries, bool isListed)
    {
        byte[] hashes = new byte[LookUps * 32];
        for (int i = 0; i < LookUps; i++)
        {
            HashOf((isListed ? 0 : entries) + (i * 7919L % entries), hashes.AsSpan(i * 32, 32));
        }

        int found = 0;
        TimeSpan start = Environment.CpuUsage.TotalTime;
        for (int i = 0; i < LookUps; i++)
        {
            found += set.Contains(hashes.AsSpan(i * 32, 32)) ? 1 : 0;
        }

        double each = (Environment.CpuUsage.TotalTime - start).TotalNanoseconds / LookUps;
        return found == (isListed ? LookUps : 0) ? each : throw new InvalidOperationException($"{found} of {LookUps} were found");
    }
}
