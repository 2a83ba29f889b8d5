namespace Vmsweep.Benchmarks.Measuring;

/// <summary>One thing to be measured.</summary>
/// <param name="Warm">Files and folders that are read just before, so that every run finds them in the page cache.</param>
/// <param name="Run">Runs it once.</param>
internal sealed record Subject(string Name, IReadOnlyList<string> Warm, Func<Cost> Run);

/// <summary>Costs of several subjects, taken in turns, so that what else the machine does falls on all alike.</summary>
internal sealed class Rounds
{
    private readonly Dictionary<string, List<Cost>> _costs = new(StringComparer.Ordinal);
    private readonly List<string> _names = [];

    public static Rounds Run(IReadOnlyList<Subject> subjects, int count)
    {
        var rounds = new Rounds();
        for (int round = 1; round <= count; round++)
        {
            foreach (Subject subject in subjects)
            {
                Warm(subject.Warm);
                Cost cost = subject.Run();
                rounds.Add(subject.Name, cost);
                Console.Error.WriteLine($"  round {round}/{count}  {subject.Name,-34} {cost.Elapsed.TotalSeconds,8:0.0} s  processor {cost.Processor.TotalSeconds,8:0.0} s  {Text.MiB(cost.PeakTogether)}");
            }
        }

        return rounds;
    }

    public double Seconds(string name) => Median(name, c => c.Elapsed.TotalSeconds);

    public double ProcessorSeconds(string name) => Median(name, c => c.Processor.TotalSeconds);

    public long PeakTogether(string name) => _costs[name].Max(c => c.PeakTogether);

    public long PeakSingle(string name) => _costs[name].Max(c => c.PeakSingle);

    /// <summary>Median over the rounds of the ratio within one round: neighbours in time are compared.</summary>
    public double Ratio(string name, string reference) => Median(_costs[name].Zip(_costs[reference], (a, b) => a.Elapsed / b.Elapsed));

    public double ProcessorRatio(string name, string reference) => Median(_costs[name].Zip(_costs[reference], (a, b) => a.Processor / b.Processor));

    /// <summary>A table of all subjects against one of them.</summary>
    public void Print(string reference)
    {
        Console.WriteLine($"  {"",-34} {"time",9} {"ratio",7} {"(each round)",-22} {"processor",10} {"ratio",7} {"peak, all",10} {"largest",10}");
        foreach (string name in _names)
        {
            string each = string.Join(' ', _costs[name].Zip(_costs[reference], (a, b) => $"{a.Elapsed / b.Elapsed:0.00}"));
            Console.WriteLine($"  {name,-34} {Seconds(name),7:0.0} s {Ratio(name, reference),7:0.00} {each,-22} {ProcessorSeconds(name),8:0.0} s {ProcessorRatio(name, reference),7:0.00} {Text.MiB(PeakTogether(name)),10} {Text.MiB(PeakSingle(name)),10}");
        }
    }

    private void Add(string name, Cost cost)
    {
        if (!_costs.TryGetValue(name, out List<Cost>? costs))
        {
            _costs.Add(name, costs = []);
            _names.Add(name);
        }

        costs.Add(cost);
    }

    private double Median(string name, Func<Cost, double> value) => Median(_costs[name].Select(value));

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }

    private static void Warm(IReadOnlyList<string> paths)
    {
        if (paths.Count > 0)
        {
            // A pipe into cat's own /dev/null is recognised by some programs, not by cat: it reads everything.
            Measured.Script("find \"$@\" -type f -print0 | xargs -0 cat > /dev/null", paths);
        }
    }
}
