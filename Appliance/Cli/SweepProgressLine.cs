using System.Diagnostics;
using System.Globalization;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Sweeps.Running;

namespace Vmsweep.Appliance.Cli;

/// <summary>One line on standard error that says how far a sweep is. Only on a terminal; that it waits is said everywhere.</summary>
internal sealed class SweepProgressLine(bool isWanted, TimeZoneInfo zone) : ISweepListener
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);

    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private readonly bool _isShown = isWanted && !Console.IsErrorRedirected;
    private readonly Lock _lock = new();
    private TimeSpan _nextAt;
    private bool _isOnScreen;

    public void OnProgress(SweepProgress progress)
    {
        lock (_lock)
        {
            if (!_isShown || _watch.Elapsed < _nextAt)
            {
                return;
            }

            _nextAt = _watch.Elapsed + Interval;
            string line = Line(progress);
            int width = Math.Max(20, Console.WindowWidth - 1);
            Console.Error.Write("\r\e[2K" + (line.Length > width ? line[..width] : line));
            _isOnScreen = true;
        }
    }

    public void OnVm(SweepVmReport vm)
    {
    }

    public void OnWaiting(DateTimeOffset until)
    {
        Clear();
        Console.Error.WriteLine($"vmsweep: waits until its window opens at {SweepChecks.Show(until, zone)}");
    }

    public void Clear()
    {
        lock (_lock)
        {
            if (_isOnScreen)
            {
                Console.Error.Write("\r\e[2K");
                _isOnScreen = false;
            }
        }
    }

    /// <summary>VMs done, bytes, rate, time left, findings, gaps, and what is being done.</summary>
    public static string Line(SweepProgress p)
    {
        string left = p.Left is { } span ? string.Create(CultureInfo.InvariantCulture, $", {(int)span.TotalHours}:{span.Minutes:00}:{span.Seconds:00} left") : "";
        string now = p.Scanning.Count > 0 ? "  " + Printable.Of(string.Join(", ", p.Scanning.Take(3))) : "";
        string held = p.Held.Length > 0 ? $"  ({Printable.Of(p.Held)})" : "";
        return string.Create(CultureInfo.InvariantCulture, $"{p.VmsDone}/{p.Vms} VMs  {Sizes.Show(p.Bytes)}, {Sizes.Show((long)p.BytesPerSecond)}/s{left}, {p.Findings} findings, {p.Gaps} gaps{now}{held}");
    }
}
