using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;

namespace Vmsweep.Benchmarks.EndToEnd;

/// <summary>Scans of the images against <c>yara</c> over the same files.</summary>
internal static class ScanBenchmark
{
    private const string Extracted = "yara -r, extracted files";
    private const string Mounted = "ntfs-3g mount + yara -r";
    private const string Vmdk = "vmsweep scan, NTFS in VMDK";
    private const string Vhdx = "vmsweep scan, ext4 in VHDX";

    private const double MostRatio = 0.85;
    private const long MostMemory = 600L << 20;

    /// <summary>True when all matches are equal.</summary>
    public static bool Run(ImageSet set, BenchmarkRules rules, int threads, int rounds, bool withMount)
    {
        var programs = new Programs(set, rules, threads);
        string Result(string name) => Path.Combine(set.Scratch, name);
        string mount = Path.Combine(set.Scratch, "mount");
        List<Subject> subjects =
        [
            new(Extracted, [set.Folder], () => programs.Yara(set.Folder, Result("yara.txt"))),
            new(Vmdk, [set.Vmdk], () => programs.Scan(set.Vmdk, Result("vmdk.json"))),
            new(Vhdx, [set.Vhdx], () => programs.Scan(set.Vhdx, Result("vhdx.json"))),
        ];
        if (withMount)
        {
            subjects.Add(new(Mounted, [set.NtfsRaw], () => programs.MountAndYara(set.NtfsRaw, mount, Result("mount.txt"))));
        }

        Rounds costs = Rounds.Run(subjects, rounds);
        Cost tiny = programs.Scan(set.Tiny, Result("tiny.json"));
        Cost bare = programs.ScanWithout(set.Tiny, Result("bare.json"));

        Console.WriteLine($"\nscan: {set.Files} files, {Text.MiB(set.Bytes)}, {rules.Files.Count} rule files, {threads} threads, {rounds} rounds in turns, page cache warm");
        costs.Print(Extracted);
        long compiled = Math.Max(0, tiny.PeakSingle - bare.PeakSingle);
        Console.WriteLine($"\n  a 1 MiB disk with these rules: {Text.MiB(tiny.PeakTogether)} together, largest process {Text.MiB(tiny.PeakSingle)}, processor {tiny.Processor.TotalSeconds:0.0} s; with one rule: {Text.MiB(bare.PeakTogether)}, {Text.MiB(bare.PeakSingle)}, {bare.Processor.TotalSeconds:0.0} s");
        Console.WriteLine($"  so the compiled rules take {Text.MiB(compiled)}");
        foreach (string scan in new[] { Vmdk, Vhdx })
        {
            long beyond = costs.PeakTogether(scan) - compiled;
            Console.WriteLine($"  {scan}: {costs.Ratio(scan, Extracted):0.00} of yara's time over extracted files (at most {MostRatio}: {Verdict(costs.Ratio(scan, Extracted) <= MostRatio)}), processor {costs.ProcessorRatio(scan, Extracted):0.00}; "
                + $"{Text.MiB(beyond)} beyond the rules (at most {Text.MiB(MostMemory)}: {Verdict(beyond <= MostMemory)})");
        }

        Findings expected = Findings.OfYara(Result("yara.txt"), set.Folder);
        HashSet<string> files = [.. new DirectoryInfo(set.Folder).EnumerateFiles("*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(set.Folder, f.FullName))];
        Console.WriteLine($"\n  yara: {expected.InFiles.Count} matches of {expected.InFiles.Select(f => f.Rule).Distinct().Count()} rules in {expected.InFiles.Select(f => f.File).Distinct().Count()} files");
        Show("it said", expected.Gaps);
        bool equal = Compare(Vmdk, expected, Findings.OfReport(Result("vmdk.json"), files));
        equal &= Compare(Vhdx, expected, Findings.OfReport(Result("vhdx.json"), files));
        if (withMount)
        {
            equal &= Compare(Mounted, expected, Findings.OfYara(Result("mount.txt"), mount));
        }

        return equal;
    }

    private static bool Compare(string name, Findings expected, Findings found)
    {
        List<string> missing = [.. expected.InFiles.Except(found.InFiles).Select(Line).Order(StringComparer.Ordinal)];
        List<string> more = [.. found.InFiles.Except(expected.InFiles).Select(Line).Order(StringComparer.Ordinal)];
        bool equal = missing.Count == 0 && more.Count == 0;
        Console.WriteLine($"  {name}: {found.InFiles.Count} matches in files, {(equal ? "equal to yara's" : "DIFFERENT")}; {found.Elsewhere.Count} outside files; {found.Gaps.Count} gaps");
        Show("missing", missing);
        Show("only here", more);
        Show("outside files", [.. found.Elsewhere.Select(Line)]);
        Show("gap", found.Gaps);
        return equal;
    }

    private static void Show(string what, IReadOnlyList<string> lines)
    {
        const int Most = 12;
        foreach (string line in lines.Take(Most))
        {
            Console.WriteLine($"    {what}: {line}");
        }

        if (lines.Count > Most)
        {
            Console.WriteLine($"    {what}: {lines.Count - Most} more");
        }
    }

    private static string Line(Finding finding) => $"{finding.Rule} {finding.File}";

    private static string Verdict(bool reached) => reached ? "reached" : "MISSED";
}
