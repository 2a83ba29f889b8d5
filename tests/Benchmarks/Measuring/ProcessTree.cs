using System.Globalization;

namespace Vmsweep.Benchmarks.Measuring;

/// <summary>Memory and processor time of a process and everything below it, by sampling <c>/proc</c>.</summary>
internal sealed class ProcessTree(int root)
{
    /// <summary>User and system time stand in <c>/proc/PID/stat</c> in hundredths of a second on every Linux.</summary>
    private const int TicksInSecond = 100;

    /// <summary><c>proc(5)</c>, fields 14 and 15, counted from the one behind the name.</summary>
    private const int UserTimeField = 11;

    private readonly Dictionary<int, long> _highWater = [];
    private readonly Dictionary<int, long> _ticks = [];

    /// <summary>User and system time of all processes as last seen; what ended between two samples is missing.</summary>
    public TimeSpan Processor => TimeSpan.FromSeconds(_ticks.Values.Sum() / (double)TicksInSecond);

    /// <summary>The largest sum of resident memory over the processes alive at one moment.</summary>
    public long PeakTogether { get; private set; }

    /// <summary>The kernel's own high-water mark of the largest process.</summary>
    public long PeakSingle => _highWater.Count == 0 ? 0 : _highWater.Values.Max();

    public void Sample()
    {
        long together = 0;
        var open = new Stack<int>([root]);
        while (open.TryPop(out int process))
        {
            (long resident, long highWater) = Memory(process);
            together += resident;
            _highWater[process] = Math.Max(highWater, _highWater.GetValueOrDefault(process));
            _ticks[process] = Math.Max(Ticks(process), _ticks.GetValueOrDefault(process));
            foreach (int child in Children(process))
            {
                open.Push(child);
            }
        }

        PeakTogether = Math.Max(PeakTogether, together);
    }

    private static (long Resident, long HighWater) Memory(int process)
    {
        long resident = 0;
        long highWater = 0;
        foreach (string line in Lines($"/proc/{process}/status"))
        {
            if (line.StartsWith("VmRSS:", StringComparison.Ordinal))
            {
                resident = Kibibytes(line);
            }
            else if (line.StartsWith("VmHWM:", StringComparison.Ordinal))
            {
                highWater = Kibibytes(line);
            }
        }

        return (resident, highWater);
    }

    private static long Ticks(int process)
    {
        if (Lines($"/proc/{process}/stat") is not [{ } line, ..])
        {
            return 0;
        }

        // The name in parentheses may hold anything.
        string[] fields = line[(line.LastIndexOf(')') + 2)..].Split(' ');
        return long.Parse(fields[UserTimeField], CultureInfo.InvariantCulture) + long.Parse(fields[UserTimeField + 1], CultureInfo.InvariantCulture);
    }

    private static long Kibibytes(string line) =>
        long.Parse(line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..^3].Trim(), CultureInfo.InvariantCulture) << 10;

    /// <summary>Children stand with the thread that started them.</summary>
    private static IEnumerable<int> Children(int process)
    {
        string tasks = $"/proc/{process}/task";
        string[] threads;
        try
        {
            threads = Directory.GetDirectories(tasks);
        }
        catch (IOException)
        {
            return [];
        }

        return threads
            .SelectMany(t => Lines(Path.Combine(t, "children")))
            .SelectMany(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(c => int.Parse(c, CultureInfo.InvariantCulture));
    }

    /// <summary>A process may end while it is looked at.</summary>
    private static string[] Lines(string file)
    {
        try
        {
            return File.ReadAllLines(file);
        }
        catch (IOException)
        {
            return [];
        }
    }
}
