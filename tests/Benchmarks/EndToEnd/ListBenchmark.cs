using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;

namespace Vmsweep.Benchmarks.EndToEnd;

/// <summary>Hashing listings of the images against openssl over the same files.</summary>
internal static class ListBenchmark
{
    private const string Extracted = "find | xargs -P2 openssl dgst";
    private const string Vmdk = "vmsweep ls --sha256, NTFS in VMDK";
    private const string Vhdx = "vmsweep ls --sha256, ext4 in VHDX";

    private const double LeastRate = 0.8;

    /// <summary>True when all hashes are equal.</summary>
    public static bool Run(ImageSet set, BenchmarkRules rules, int threads, int rounds)
    {
        var programs = new Programs(set, rules, threads);
        string Result(string name) => Path.Combine(set.Scratch, name);
        Rounds costs = Rounds.Run(
        [
            new(Extracted, [set.Folder], () => Programs.OpenSsl(set.Folder, Result("openssl.txt"))),
            new(Vmdk, [set.Vmdk], () => programs.List(set.Vmdk, Result("vmdk.tsv"))),
            new(Vhdx, [set.Vhdx], () => programs.List(set.Vhdx, Result("vhdx.tsv"))),
        ], rounds);
        Console.WriteLine($"\nls -R --files --sha256: {set.Files} files, {Text.MiB(set.Bytes)}, {threads} threads, {rounds} rounds in turns, page cache warm");
        costs.Print(Extracted);
        Dictionary<string, string> expected = File.ReadLines(OpenSslInOrder(set, Result("expected.txt"))).ToDictionary(l => l[(l.IndexOf('*', StringComparison.Ordinal) + 3)..], l => l[..64], StringComparer.Ordinal);
        bool equal = true;
        foreach ((string name, string file) in new[] { (Vmdk, "vmdk.tsv"), (Vhdx, "vhdx.tsv") })
        {
            double rate = 1 / costs.Ratio(name, Extracted);
            Console.WriteLine($"  {name}: {rate:0.00} of openssl's rate (at least {LeastRate}: {(rate >= LeastRate ? "reached" : "MISSED")}), by processor time {1 / costs.ProcessorRatio(name, Extracted):0.00}");
            equal &= Compare(name, expected, Result(file));
        }

        return equal;
    }

    /// <summary>Processes side by side tear each other's lines.</summary>
    private static string OpenSslInOrder(ImageSet set, string output)
    {
        Programs.OpenSsl(set.Folder, output, processes: 1);
        return output;
    }

    private static bool Compare(string name, Dictionary<string, string> expected, string listing)
    {
        Dictionary<string, string> found = File.ReadLines(listing).Select(l => l.Split('\t')).ToDictionary(c => c[0]["v1/".Length..], c => c[2], StringComparer.Ordinal);
        List<string> wrong = [.. expected.Where(e => found.GetValueOrDefault(e.Key) != e.Value).Select(e => e.Key)];
        List<string> more = [.. found.Keys.Where(f => !expected.ContainsKey(f))];
        Console.WriteLine($"  {name}: {found.Count} files, {(wrong.Count == 0 ? "all hashes equal" : $"{wrong.Count} hashes DIFFERENT, first {wrong[0]}")}{(more.Count > 0 ? $", {more.Count} more files, first {more[0]}" : "")}");
        return wrong.Count == 0 && more.Count == 0;
    }
}
