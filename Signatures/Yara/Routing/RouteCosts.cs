namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>
/// What the two ways to decide content cost, learnt from the contents that were decided: asking the prefilter and scanning the sets it
/// names, or scanning once with all rules of the content's kind. Rules and files differ too much for fixed numbers. For one thread.
/// </summary>
/// <param name="sets">How many sets each rule is in one of.</param>
/// <param name="wholes">How many sets hold all rules of a kind of content; they are numbered behind the others.</param>
internal sealed class RouteCosts(int sets, int wholes)
{
    /// <summary>Nanoseconds a byte that are believed before anything was measured.</summary>
    private const double OfSet = 2.7;
    private const double OfWhole = 8;
    private const double OfRouting = 4;

    /// <summary>So many bytes count as half of what is believed.</summary>
    private const double HalfLifeBytes = 4 << 20;

    /// <summary>The dearer way is tried again once in so many contents, for what comes next may be otherwise.</summary>
    private const int TryAgainAfter = 96;

    private readonly double[] _ofSet = [.. Enumerable.Repeat(OfSet, sets), .. Enumerable.Repeat(OfWhole, wholes)];
    private readonly double[] _ofRouting = [.. Enumerable.Repeat(OfRouting, wholes)];
    private readonly int[] _turns = new int[wholes];

    /// <summary>True when content of the kind is to be scanned with all its rules without asking the prefilter.</summary>
    public bool IsWholeFirst(int kind)
    {
        if (wholes == 0)
        {
            return false;
        }

        bool isCheaper = _ofSet[sets + kind] < _ofRouting[kind];
        return ++_turns[kind] % TryAgainAfter == 0 ? !isCheaper && _ofSet[sets + kind] < 3 * _ofRouting[kind] : isCheaper;
    }

    /// <summary>True when, the prefilter having been asked, one scan with all rules of the kind costs less than one with each of the sets.</summary>
    public bool IsWholeCheaper(int kind, List<int> candidates)
    {
        if (wholes == 0 || candidates.Count < 2)
        {
            return false;
        }

        double sum = 0;
        foreach (int set in candidates)
        {
            sum += _ofSet[set];
        }

        return sum > _ofSet[sets + kind];
    }

    /// <summary>A scan with one set took so long.</summary>
    public void LearnSet(int set, int bytes, TimeSpan taken) => Learn(ref _ofSet[set], bytes, taken);

    /// <summary>The prefilter and the scans that it led to took so long.</summary>
    public void LearnRouting(int kind, int bytes, TimeSpan taken)
    {
        if (wholes > 0)
        {
            Learn(ref _ofRouting[kind], bytes, taken);
        }
    }

    private static void Learn(ref double believed, int bytes, TimeSpan taken)
    {
        if (bytes > 0)
        {
            believed += bytes / (bytes + HalfLifeBytes) * ((taken.TotalNanoseconds / bytes) - believed);
        }
    }
}
