using System.Text.Json;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;

namespace Vmsweep.Benchmarks.EndToEnd;

/// <summary>What a scan costs when an earlier one is remembered, against that earlier one.</summary>
internal static class CacheBenchmark
{
    private const string First = "first scan";
    private const string Second = "second scan";
    private const string Added = "ten rules added";
    private const string Common = "ten that many files match added";

    private const int AddedRules = 10;
    private const double MostOfSecond = 0.15;
    private const double MostOfAdded = 0.35;

    /// <summary>True when every scan finds what one without a cache finds.</summary>
    public static bool Run(ImageSet set, BenchmarkRules rules, int threads, int rounds)
    {
        var programs = new Programs(set, rules, threads);
        string Result(string name) => Path.Combine(set.Scratch, name);
        string state = Result("state");
        string more = Result("added.yar");
        string common = Result("common.yar");
        File.WriteAllText(more, new PublicStyleRules(77).WriteFamilies(AddedRules));
        File.WriteAllText(common, new PublicStyleRules(77).Write(AddedRules));
        Rounds costs = Rounds.Run(
        [
            new(First, [set.Vmdk], () =>
            {
                if (Directory.Exists(state))
                {
                    Directory.Delete(state, recursive: true);
                }

                return programs.Scan(set.Vmdk, Result("first.json"), state);
            }),
            new(Second, [set.Vmdk], () => programs.Scan(set.Vmdk, Result("second.json"), state)),
            new(Added, [set.Vmdk], () => programs.Scan(set.Vmdk, Result("added.json"), state, more)),
            new(Common, [set.Vmdk], () => programs.Scan(set.Vmdk, Result("common.json"), state, common)),
        ], rounds);
        Console.WriteLine($"\ncache: {set.Files} files, {Text.MiB(set.Bytes)}, NTFS in VMDK, {rules.Files.Count} rule files, {threads} threads, {rounds} rounds, page cache warm");
        costs.Print(First);
        foreach ((string name, double most) in new[] { (Second, MostOfSecond), (Added, MostOfAdded) })
        {
            Console.WriteLine($"  {name}: {costs.Ratio(name, First):0.00} of the first's time (at most {most}: {(costs.Ratio(name, First) <= most ? "reached" : "MISSED")}), processor {costs.ProcessorRatio(name, First):0.00}");
        }

        Console.WriteLine($"  {Text.MiB(new DirectoryInfo(state).EnumerateFiles("vmsweep.db*").Sum(f => f.Length))} of database, {Text.MiB(new DirectoryInfo(Path.Combine(state, "compiled")).EnumerateFiles().Sum(f => f.Length))} of compiled rules");
        programs.Scan(set.Vmdk, Result("without.json"), state, null, "--no-cache");
        programs.Scan(set.Vmdk, Result("added-without.json"), state, more, "--no-cache");
        programs.Scan(set.Vmdk, Result("common-without.json"), state, common, "--no-cache");
        return Compare(First, Result("without.json"), Result("first.json"))
            & Compare(Second, Result("without.json"), Result("second.json"))
            & Compare(Added, Result("added-without.json"), Result("added.json"))
            & Compare(Common, Result("common-without.json"), Result("common.json"));
    }

    private static bool Compare(string name, string without, string with)
    {
        (List<string> expected, _) = Read(without);
        (List<string> found, long cached) = Read(with);
        bool equal = expected.SequenceEqual(found);
        Console.WriteLine($"  {name}: {found.Count} findings and gaps, {(equal ? "equal to a scan without a cache" : "DIFFERENT from a scan without a cache")}; {cached} files known before");
        return equal;
    }

    private static (List<string> Said, long Cached) Read(string report)
    {
        using FileStream stream = File.OpenRead(report);
        using JsonDocument json = JsonDocument.Parse(stream);
        List<string> said = [.. json.RootElement.GetProperty("targets").EnumerateArray()
            .SelectMany(t => t.GetProperty("findings").EnumerateArray().Concat(t.GetProperty("gaps").EnumerateArray())).Select(e => e.GetRawText())];
        said.Sort(StringComparer.Ordinal);
        return (said, json.RootElement.GetProperty("totals").GetProperty("filesCached").GetInt64());
    }
}
