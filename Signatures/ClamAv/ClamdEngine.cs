using System.Diagnostics;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.ClamAv;

/// <summary>ClamAV as an engine: each content goes to <c>clamd</c>, which keeps its own process and its own database.</summary>
public sealed class ClamdEngine(ClamdOptions options, string version) : IEngine
{
    public const string EngineName = "clamav";

    /// <summary>The daemon does not say all that it has loaded, so that there is no bundle.</summary>
    public EngineFacts Facts { get; } = new(EngineName, version, 0, "");

    public bool UsesNames => false;

    internal ClamdOptions Options => options;

    internal ClamdOutage Outage { get; } = new(options.Outage);

    /// <summary>
    /// What the daemon opens as we do. It says OK of what it does not open, so that this is a list of what was seen to be found, and anything else is
    /// given to it member by member. RAR is not on it: Debian's daemon comes without the library for it.
    /// </summary>
    private static readonly HashSet<string> Opened = new(StringComparer.Ordinal)
    {
        "zip", "zip:method 9", "zip:method 12", "gzip", "bzip2", "xz", "tar", "7z", "7z:method 303011B", "cab", "ole", "mail", "cpio", "chm", "szdd", "tnef", "pdf",
    };

    /// <summary>A signature's name as a detection.</summary>
    public static Detection DetectionOf(string name) => ClamdAnswer.DetectionOf(name);

    public bool Opens(string way) => Opened.Contains(way);

    public IMatcher CreateMatcher() => new ClamdMatcher(this);

    public void Dispose()
    {
    }
}

/// <summary>Whether the daemon is within reach, as all threads know it. Waiting is bounded for each outage, not for each content.</summary>
internal sealed class ClamdOutage(TimeSpan most)
{
    /// <summary>When it began; 0 while there is none.</summary>
    private long _since;

    public void End() => Interlocked.Exchange(ref _since, 0);

    /// <summary>The daemon was not within reach. True while it is worth waiting for.</summary>
    public bool MayWait()
    {
        long now = Stopwatch.GetTimestamp();
        long since = Interlocked.CompareExchange(ref _since, now, 0);
        return since == 0 || Stopwatch.GetElapsedTime(since, now) < most;
    }
}

/// <summary>One thread's way to the daemon. It keeps nothing between contents.</summary>
internal sealed class ClamdMatcher(ClamdEngine engine) : IMatcher
{
    /// <summary>A daemon that ends again and again over one content is not given it for ever.</summary>
    private const int MostLost = 3;

    private const int FirstPauseMilliseconds = 50;
    private const int LongestPauseMilliseconds = 1000;

    public MatchFault? Match(ReadOnlySpan<byte> content, in ContentFacts facts, List<Detection> found, CancellationToken cancellation)
    {
        if (content.IsEmpty)
        {
            return null;
        }

        TimeSpan left = engine.Options.Timeout;
        int lost = 0;
        for (int pause = FirstPauseMilliseconds; ; pause = Math.Min(2 * pause, LongestPauseMilliseconds))
        {
            long start = Stopwatch.GetTimestamp();
            ExchangeResult result = ClamdExchange.Scan(engine.Options.Socket, content, left, cancellation);
            left -= Stopwatch.GetElapsedTime(start);
            switch (result.End)
            {
                case ExchangeEnd.Answered:
                    engine.Outage.End();
                    return ClamdAnswer.Read(result.Text, content.Length, found);
                case ExchangeEnd.Timeout:
                    return ClamdAnswer.Fault(MatchFaultKind.Timeout, $"{result.Text} within {engine.Options.Timeout.TotalSeconds:0.#} s");
                case ExchangeEnd.Lost when ++lost == MostLost:
                    return ClamdAnswer.Fault(MatchFaultKind.Transport, $"{result.Text}, {MostLost} times");
            }

            if (left <= TimeSpan.Zero || !engine.Outage.MayWait())
            {
                return ClamdAnswer.Fault(MatchFaultKind.Transport, $"clamd cannot be reached: {result.Text}");
            }

            cancellation.WaitHandle.WaitOne(pause);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    public void Dispose()
    {
    }
}
