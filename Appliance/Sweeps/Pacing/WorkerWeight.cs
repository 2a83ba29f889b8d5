using System.Diagnostics;
using System.Globalization;
using Serilog;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Sweeps.Pacing;

/// <summary>
/// Starts workers with less weight than everything else on this machine. Set before the program starts, for the kernel keeps both for each thread, and a process that lowers
/// itself lowers only those that it starts afterwards.
/// </summary>
internal sealed class WorkerWeight(int nice, string ioClass)
{
    private const string LowestBestEffort = "7";

    public ProcessStartInfo Put(ProcessStartInfo start)
    {
        List<string> before = [];
        if (nice > 0 && Sandbox.Find("nice") is { } nicer)
        {
            before.AddRange([nicer, "-n", nice.ToString(CultureInfo.InvariantCulture)]);
        }

        if (ioClass != "none" && Sandbox.Find("ionice") is { } ionice)
        {
            before.AddRange(ioClass == "idle" ? [ionice, "-c", "3", "-t"] : [ionice, "-c", "2", "-n", LowestBestEffort, "-t"]);
        }

        if ((nice > 0 && Sandbox.Find("nice") is null) || (ioClass != "none" && Sandbox.Find("ionice") is null))
        {
            Log.Warning("workers have the weight of every other program: nice or ionice is missing (apt-get install -y coreutils util-linux)");
        }

        if (before.Count == 0)
        {
            return start;
        }

        // Both replace themselves by the program: its process is the one that was started.
        string[] arguments = [.. before.Skip(1), start.FileName, .. start.ArgumentList];
        start.FileName = before[0];
        start.ArgumentList.Clear();
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return start;
    }
}
