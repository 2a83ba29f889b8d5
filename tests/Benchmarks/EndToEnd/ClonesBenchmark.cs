using System.Globalization;
using System.Text.Json;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.EndToEnd;

/// <summary>
/// Twenty linked clones with a hundredth of own content each, and twenty full copies, against the base alone; and a disk over a base again after a hundredth of it
/// was written, by its layers and by the contents that are known. What starting costs, the program once and a worker for each VM, is the same for small disks and for large ones: it is
/// measured by disks with one file, and each ratio is told with it and without. Few of the files are found, as on the disks that people work with; the base and its clones are scanned once more
/// with rules that find nearly a tenth of all files, many times each: what a report of that size costs.
/// </summary>
internal static class ClonesBenchmark
{
    private const int Clones = 20;
    private const string Base = "the base alone";
    private const string Linked = "20 linked clones";
    private const string Copies = "20 full copies";
    private const string First = "a disk over a base";
    private const string Changed = "again, 1 % written, by layers";
    private const string Warm = "again, 1 % written, all read";
    private const string Start = "a disk with one file";
    private const string Starts = "20 disks with one file";
    private const string Ready = "again, rules compiled";
    private const string FullBase = "the base, much found";
    private const string FullLinked = "20 linked clones, much found";

    /// <summary>True when every scan finds what one that reads all and knows nothing finds.</summary>
    /// <param name="many">Rules that find much.</param>
    public static bool Run(ImageSet set, BenchmarkRules rules, BenchmarkRules many, int threads, int rounds)
    {
        string folder = Path.Combine(set.Scratch, "clones");
        Make(set, folder);
        Directory.CreateDirectory(Path.Combine(folder, "tiny"));
        for (int i = 1; i <= Clones; i++)
        {
            File.Copy(set.Tiny, Path.Combine(folder, $"tiny/disk{i}.img"), overwrite: true);
        }

        var programs = new Programs(set, rules, threads);
        var full = new Programs(set, many, threads);
        string Result(string name) => Path.Combine(set.Scratch, name);
        string At(string name) => Path.Combine(folder, name);
        string state = Result("clones.state");
        Cost Anew(string target, string report)
        {
            Forget(state);
            return Inheriting(target, report);
        }

        Cost Inheriting(string target, string report) => programs.Scan(target, Result(report), state, null, "--inherit");

        Cost AnewFull(string target, string report)
        {
            Forget(state);
            return full.Scan(target, Result(report), state, null, "--inherit");
        }

        Rounds costs = Rounds.Run(
        [
            new(Base, [At("linked/base.qcow2")], () => Anew(At("linked/base.qcow2"), "base.json")),
            new(Linked, [At("linked")], () => Anew(At("linked"), "linked.json")),
            new(Copies, [At("copies/copy1.qcow2")], () => Anew(At("copies"), "copies.json")),
            new(First, [At("days")], () => Anew(At("days/first.qcow2"), "first.json")),
            new(Changed, [At("days")], () => Inheriting(At("days/second.qcow2"), "changed.json")),
            new(Warm, [At("days")], () =>
            {
                Anew(At("days/first.qcow2"), "first-again.json");
                return programs.Scan(At("days/second.qcow2"), Result("warm.json"), state);
            }),
            new(Start, [At("tiny")], () => Anew(At("tiny/disk1.img"), "start.json")),
            new(Starts, [At("tiny")], () => Anew(At("tiny"), "starts.json")),
            new(Ready, [At("tiny")], () => Inheriting(At("tiny/disk1.img"), "ready.json")),
            new(FullBase, [At("linked/base.qcow2")], () => AnewFull(At("linked/base.qcow2"), "full-base.json")),
            new(FullLinked, [At("linked")], () => AnewFull(At("linked"), "full-linked.json")),
        ], rounds);
        Console.WriteLine($"\nclones: {set.Files} files, {Text.MiB(set.Bytes)}, NTFS in qcow2, {rules.Files.Count} rule files, {threads} threads, {rounds} rounds, page cache warm");
        costs.Print(Base);
        bool isEqual = true;
        foreach ((string name, string report, string against, string reference, string started, double most) in new[]
        {
            (Linked, "linked.json", Base, "base.json", Starts, 1.3), (Copies, "copies.json", Base, "base.json", Starts, 3), (Changed, "changed.json", First, "first.json", Ready, 0.03), (Warm, "warm.json", First, "first.json", Ready, 0.2),
        })
        {
            double time = costs.Ratio(name, against);
            double net = Beyond(costs.Seconds, name, started, against);
            Totals totals = Totals.Of(Result(report));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"  {name}: {time:0.000} of the time (at most {most}: {(time <= most ? "reached" : "MISSED")}), {net:0.000} beyond starting ({(net <= most ? "reached" : "MISSED")}); processor {costs.ProcessorRatio(name, against):0.000}, {Beyond(costs.ProcessorSeconds, name, started, against):0.000} beyond starting; {(double)totals.Read / Totals.Of(Result(reference)).Read:0.000} of the bytes read; {totals.Targets} targets, {totals.Findings:N0} findings, {totals.Inherited:N0} files inherited, {totals.Cached:N0} known"));
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  {FullLinked}: {costs.Ratio(FullLinked, FullBase):0.000} of the time of the base, processor {costs.ProcessorRatio(FullLinked, FullBase):0.000}; {Totals.Of(Result("full-linked.json")).Findings:N0} findings, {Text.MiB(new FileInfo(Result("full-linked.json")).Length)} of report, at most {Text.MiB(costs.PeakSingle(FullLinked))} in a process ({Text.MiB(costs.PeakSingle(FullBase))} with the base)"));

        foreach ((string target, string report) in new[] { ("linked", "linked.json"), ("days/second.qcow2", "changed.json"), ("days/second.qcow2", "warm.json") })
        {
            programs.Scan(At(target), Result("reference.json"), "none");
            bool same = Said(Result("reference.json")).SequenceEqual(Said(Result(report)));
            isEqual &= same;
            Console.WriteLine($"  {report}: findings and gaps {(same ? "equal to" : "DIFFERENT from")} those of a scan that reads all");
        }

        // Of copies each must say what the base says: to match them all without a memory would take twenty times as long.
        List<string> whole = SaidOfEach(Result("base.json"));
        bool isSame = SaidOfEach(Result("copies.json")) is { Count: Clones } each && each.TrueForAll(c => c == whole[0]);
        Console.WriteLine($"  copies.json: findings and gaps {(isSame ? "equal to" : "DIFFERENT from")} those of the base");
        Forget(state);
        return isEqual && isSame;
    }

    /// <summary>Overlays are made of raw images by qemu-img, which writes the clusters that differ; copies are one file under many names, as the page cache is warm anyway.</summary>
    private static void Make(ImageSet set, string folder)
    {
        if (File.Exists(Path.Combine(folder, "complete")))
        {
            return;
        }

        Console.Error.WriteLine("  linked clones (once)");
        foreach (string tool in (string[])["qemu-img", "ntfscp"])
        {
            Tool.Find(tool);
        }

        long own = Math.Max(4096, set.Bytes / 1000);
        Measured.Script(
            $$"""
            PATH=$PATH:/usr/sbin:/sbin
            folder=$1; raw=$2; own=$3
            rm -rf "$folder"; mkdir -p "$folder/linked" "$folder/copies" "$folder/days"; cd "$folder"
            qemu-img convert -f raw -O qcow2 "$raw" linked/base.qcow2
            for i in $(seq {{Clones}}); do ln linked/base.qcow2 copies/copy$i.qcow2; done
            cp linked/base.qcow2 days/base.qcow2
            clone() {
              cp --sparse=always "$raw" work.raw
              for f in $(seq 10); do head -c $own /dev/urandom > own; ntfscp -f work.raw own own$f.bin; done
              qemu-img create -q -f qcow2 -b "$folder/work.raw" -F raw "$1"
              qemu-img rebase -b base.qcow2 -F qcow2 "$1"
            }
            for i in $(seq {{Clones}}); do clone linked/clone$i.qcow2; done
            clone days/second.qcow2
            (cd days; qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 first.qcow2)
            rm work.raw own
            sleep 2
            touch complete
            """,
            [folder, set.NtfsRaw, own.ToString(CultureInfo.InvariantCulture)]);
    }

    /// <summary>A ratio of what is beyond the cost of starting: rules are compiled by what knows nothing.</summary>
    private static double Beyond(Func<string, double> cost, string name, string started, string against) => Math.Max(0, cost(name) - cost(started)) / (cost(against) - cost(Start));

    private static void Forget(string state)
    {
        if (Directory.Exists(state))
        {
            Directory.Delete(state, recursive: true);
        }
    }

    /// <summary>Without what tells how it came to be known.</summary>
    private static List<string> Said(string report)
    {
        using FileStream stream = File.OpenRead(report);
        using JsonDocument json = JsonDocument.Parse(stream);
        return [.. json.RootElement.GetProperty("targets").EnumerateArray()
            .SelectMany(t => t.GetProperty("findings").EnumerateArray().Concat(t.GetProperty("gaps").EnumerateArray()).Select(e => $"{t.GetProperty("target")} {string.Join(' ', e.EnumerateObject().Where(p => p.Name != "inherited").Select(p => p.ToString()))}"))
            .Order(StringComparer.Ordinal)];
    }

    /// <summary>What was found in each target, and not in which.</summary>
    private static List<string> SaidOfEach(string report)
    {
        using FileStream stream = File.OpenRead(report);
        using JsonDocument json = JsonDocument.Parse(stream);
        return [.. json.RootElement.GetProperty("targets").EnumerateArray()
            .Select(t => string.Join('\n', t.GetProperty("findings").EnumerateArray().Concat(t.GetProperty("gaps").EnumerateArray()).Select(e => e.ToString()).Order(StringComparer.Ordinal)))];
    }

    private readonly record struct Totals(int Targets, long Findings, long Read, long Inherited, long Cached)
    {
        public static Totals Of(string report)
        {
            using FileStream stream = File.OpenRead(report);
            using JsonDocument json = JsonDocument.Parse(stream);
            JsonElement totals = json.RootElement.GetProperty("totals");
            return new Totals(json.RootElement.GetProperty("targets").GetArrayLength(), totals.GetProperty("findings").GetInt64(), totals.GetProperty("bytesRead").GetInt64(), totals.GetProperty("filesInherited").GetInt64(), totals.GetProperty("filesCached").GetInt64());
        }
    }
}
