namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>
/// What scanning with each set costs, learnt from the contents that were scanned, so that content which many sets may match is scanned once
/// with all rules of its kind. Rules and files differ too much for fixed numbers. For one thread.
/// </summary>
/// <param name="sets">How many sets each rule is in one of.</param>
/// <param name="wholes">How many sets hold all rules of a kind of content; they are numbered behind the others.</param>
internal sealed class RouteCosts(int sets, int wholes)
{
    /// <summary>Nanoseconds a byte that are believed before anything was measured.</summary>
    private const double OfSet = 2.7;
    private const double OfWhole = 8;

    /// <summary>How much the newest measure counts.</summary>
    private const double Newest = 0.1;

    /// <summary>Shorter contents say more about starting a scan than about its rate.</summary>
    private const int LeastMeasured = 32 << 10;


    /// <summary>When nearly all bytes of a kind went to its whole set, asking the prefilter first is a waste; now and then it is asked.</summary>
    private const double NearlyAll = 0.97;
    private const int AskAgainAfter = 16;

    private readonly double[] _costs = [.. Enumerable.Repeat(OfSet, sets), .. Enumerable.Repeat(OfWhole, wholes)];
    private readonly double[] _wholeShare = new double[wholes];
    private readonly int[] _sinceAsked = new int[wholes];

    /// <summary>True when the kind's content is to be scanned with all its rules without asking further.</summary>
    public bool IsWholeForSure(int kind)
    {
        if (wholes == 0 || _wholeShare[kind] < NearlyAll)
        {
            return false;
        }

        if (++_sinceAsked[kind] < AskAgainAfter)
        {
            return true;
        }

        _sinceAsked[kind] = 0;
        return false;
    }

    /// <summary>True when one scan with all rules of the kind costs less than one with each of the sets.</summary>
    public bool IsWholeCheaper(int kind, int bytes, List<int> candidates)
    {
        if (wholes == 0)
        {
            return false;
        }

        double sum = 0;
        foreach (int set in candidates)
        {
            sum += _costs[set];
        }

        bool isWhole = candidates.Count > 1 && sum > _costs[sets + kind];
        double weight = Math.Min(0.2, bytes / (double)(8 << 20));
        _wholeShare[kind] += weight * ((isWhole ? 1 : 0) - _wholeShare[kind]);
        return isWhole;
    }

    public void Learn(int set, int bytes, TimeSpan taken)
    {
        if (bytes >= LeastMeasured)
        {
            _costs[set] += Newest * ((taken.TotalNanoseconds / bytes) - _costs[set]);
        }
    }
}
