using System.Diagnostics;
using System.Globalization;

namespace Vmsweep.Appliance.Cli;

/// <summary>One line on standard error that says how far a run is, with rate and time left. Only on a terminal.</summary>
internal sealed class ProgressLine : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);

    private readonly bool _isShown;
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private TimeSpan _nextAt;
    private string _name = "";
    private TimeSpan _begunAt;
    private bool _isOnScreen;

    /// <param name="isWanted">False: nothing is ever shown.</param>
    public ProgressLine(bool isWanted) => _isShown = isWanted && !Console.IsErrorRedirected;

    public void Show(string name, long done, long total, long findings)
    {
        if (!_isShown)
        {
            return;
        }

        if (name != _name)
        {
            _name = name;
            _begunAt = _watch.Elapsed;
            _nextAt = TimeSpan.Zero;
        }

        if (_watch.Elapsed < _nextAt)
        {
            return;
        }

        _nextAt = _watch.Elapsed + Interval;
        double seconds = Math.Max(0.001, (_watch.Elapsed - _begunAt).TotalSeconds);
        double rate = done / seconds;
        string share = total > 0 ? (100.0 * done / total).ToString("0", CultureInfo.InvariantCulture).PadLeft(3) + " %" : "walking";
        string left = total > done && rate > 0 ? ", " + Span(TimeSpan.FromSeconds(Math.Min((total - done) / rate, 359_999))) + " left" : "";
        string found = findings > 0 ? string.Create(CultureInfo.InvariantCulture, $", {findings} findings") : "";
        string line = $"{Printable.Of(name)}  {share}  {Sizes.Show(done)} of {Sizes.Show(total)}, {Sizes.Show((long)rate)}/s{left}{found}";
        int width = Math.Max(20, Console.WindowWidth - 1);
        Console.Error.Write("\r\e[2K" + (line.Length > width ? line[..width] : line));
        _isOnScreen = true;
    }

    /// <summary>Takes the line off the screen, so that something else can be written.</summary>
    public void Clear()
    {
        if (_isOnScreen)
        {
            Console.Error.Write("\r\e[2K");
            _isOnScreen = false;
        }
    }

    public void Dispose() => Clear();

    private static string Span(TimeSpan span) => span.TotalHours >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{(int)span.TotalHours}:{span.Minutes:00}:{span.Seconds:00}")
        : string.Create(CultureInfo.InvariantCulture, $"{span.Minutes}:{span.Seconds:00}");
}
