using System.Diagnostics;
using System.Text;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Language;
using Vmsweep.Signatures.Yara.Routing;

namespace Vmsweep.Signatures.Yara;

/// <summary>What a rule costs by itself.</summary>
/// <param name="Line">Of the rule in its file.</param>
/// <param name="Time">For all contents together, what the rule refers to included; the best of the passes.</param>
/// <param name="Fault">Why not all contents were matched; empty when all were.</param>
public sealed record RuleCost(string Rule, string Namespace, string File, int Line, TimeSpan Time, string Fault);

/// <summary>
/// Measures rules one by one: each is compiled alone, with what it refers to, and libyara scans every content with it. Within a large
/// set a rule costs less, since rules share one pass over the content and most are never tried; the order stays.
/// </summary>
public static class RuleCosts
{
    /// <summary>What is over so fast is measured again: the first pass warms caches, and something else may have had the processor.</summary>
    private static readonly TimeSpan WorthRepeating = TimeSpan.FromMilliseconds(200);

    private const int Passes = 3;

    /// <summary>What scanning costs with a rule that looks for nothing.</summary>
    public static TimeSpan Baseline(IReadOnlyList<(string Name, byte[] Content)> sample, int secondsForOne, CancellationToken cancellation)
    {
        List<RuleFault> none = [];
        return Measure([new RuleFile("baseline", "baseline", null, "rule baseline { condition: false }"u8.ToArray())], sample, secondsForOne, none, () => { }, cancellation).Single().Time;
    }

    /// <param name="files">As for <see cref="YaraRules.Compile"/>.</param>
    /// <param name="sample">Contents, each with the path that rules may ask for.</param>
    /// <param name="secondsForOne">The time that one content may take.</param>
    /// <param name="faults">Rules that do not compile.</param>
    /// <param name="onStep">Called now and then.</param>
    /// <returns>In source order; private rules are measured with those that refer to them.</returns>
    public static IEnumerable<RuleCost> Measure(
        IEnumerable<RuleFile> files,
        IReadOnlyList<(string Name, byte[] Content)> sample,
        int secondsForOne,
        ICollection<RuleFault> faults,
        Action onStep,
        CancellationToken cancellation)
    {
        LibYara.Initialize();
        RuleProgram program = RuleProgram.Read(files, faults);
        var compiler = new RuleSetCompiler(program, faults);
        int ordinal = 0;
        foreach (RuleUnit unit in program.Units.Where(u => !u.IsPrivate))
        {
            unit.Ordinal = ordinal++;
            onStep();
            using RuleSet? set = unit.Fault is null ? compiler.Compile([unit], cancellation) : null;
            if (set is null)
            {
                continue;
            }

            using NativeScanner scanner = set.Rules.CreateScanner();
            TimeSpan best = TimeSpan.MaxValue;
            string fault = "";
            for (int pass = 0; pass < Passes && fault.Length == 0 && (pass == 0 || best < WorthRepeating); pass++)
            {
                (TimeSpan time, fault) = Scan(scanner, set, sample, secondsForOne, onStep, cancellation);
                best = time < best ? time : best;
            }

            yield return new RuleCost(unit.Name, unit.Namespace, unit.File, unit.Line, best, fault);
        }
    }

    private static (TimeSpan Time, string Fault) Scan(
        NativeScanner scanner, RuleSet set, IReadOnlyList<(string Name, byte[] Content)> sample, int secondsForOne, Action onStep, CancellationToken cancellation)
    {
        List<(int Ordinal, Detection Detection)> found = [];
        TimeSpan time = TimeSpan.Zero;
        foreach ((string name, byte[] content) in sample)
        {
            onStep();
            Define(scanner, set.UsedExternals, name, content);
            found.Clear();
            long started = Stopwatch.GetTimestamp();
            MatchFault? fault = scanner.Scan(content, secondsForOne, 1, found, set.Ordinals, cancellation);
            time += Stopwatch.GetElapsedTime(started);
            if (fault is not null)
            {
                return (time, $"{name}: {fault.Detail}");
            }
        }

        return (time, "");
    }

    private static void Define(NativeScanner scanner, int used, string path, byte[] content)
    {
        for (int i = 0; used >> i != 0; i++)
        {
            if ((used >> i & 1) != 0)
            {
                string value = i switch
                {
                    0 => Path.GetFileName(path),
                    1 => path,
                    2 => Path.GetExtension(path),
                    3 => FileTypes.Of(content),
                    _ => "",
                };
                scanner.Define(RuleSet.Externals[i], [.. Encoding.UTF8.GetBytes(value), 0]);
            }
        }
    }
}
